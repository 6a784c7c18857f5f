"""What is known of a day: its manifest, its latest run, and the two read together."""
