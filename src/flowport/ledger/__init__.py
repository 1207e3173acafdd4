"""The durable record of every run: an interface, and the SQLite file that implements it."""
