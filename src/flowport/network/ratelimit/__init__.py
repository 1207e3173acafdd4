"""The request budget of an account, shared by all processes of a home."""
