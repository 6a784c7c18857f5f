"""The command line: exports days and shows what has landed, without a Functions host."""
