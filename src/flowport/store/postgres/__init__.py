"""The store in PostgreSQL, shared by every replica and worker of a team."""
