"""The archive format: takes bytes, returns members, and does no I/O of its own."""
