"""What is measured. Each function is a contender; each module has contenders of one kind.

A contender takes the day and returns how many decompressed bytes it has handled. Settings come from the environment.
"""
