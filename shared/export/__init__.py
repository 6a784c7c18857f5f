"""The story of one export: fetch, verify, commit, publish, tidy."""
