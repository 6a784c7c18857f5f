"""Azure Blob Storage: the only package that imports its client library."""
