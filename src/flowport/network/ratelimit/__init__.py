"""The rate limiter of an account, shared by all processes of a home."""
