"""Where accepted events live, in an open table format."""
