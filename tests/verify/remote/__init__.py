"""Clients that use a server over HTTP, each driven line by line: what comes on standard input is done, what happens is printed."""
