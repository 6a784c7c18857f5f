"""What is measured, each in a process of its own: a module a family, a function a contender.

A contender takes the day and returns how many decompressed bytes it has handled. Settings come from the environment.
"""
