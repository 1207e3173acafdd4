"""Carry a server to its clients, over standard input and output or over HTTP, to a clean end.

`ending` says when it is over, `stdio` and `http` are the two ways, and `addresses` says where HTTP may listen. `http`
is loaded by name alone, so that a server on standard input and output does not pay for a web server.
"""
