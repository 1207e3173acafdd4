"""What one owner can find out about another one on the same server."""
