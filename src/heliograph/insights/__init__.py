"""The questions, each a pure function from tables to a table."""
