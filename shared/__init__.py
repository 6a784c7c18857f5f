"""The app's own package: everything between a trigger and a landed day."""
