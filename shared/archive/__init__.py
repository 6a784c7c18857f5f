"""The archive format: bytes in, members out. Pure: no I/O of its own."""
