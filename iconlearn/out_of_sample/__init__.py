"""What a fit says of rows: those it has seen, those that a mapper maps, and those that are placed beside a table."""
