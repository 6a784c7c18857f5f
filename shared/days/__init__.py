"""What is known about a day: its manifest, its latest run, and both together."""
