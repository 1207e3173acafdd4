"""A run from the accepted request to the saved files."""
