"""What comes after an export: a mirror of the container, and a dbt project over it. Never deployed."""
