"""Azure Storage: the only part of `shared` that imports its client libraries."""
