"""Readers of landed days: a mirror of the container, a Delta table, and a dbt project. Never deployed."""
