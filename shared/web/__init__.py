"""The HTTP routes, and the pages for a browser."""
