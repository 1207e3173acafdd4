"""The built-in demo provider: a small service on the loopback interface, so that a first run needs no account.

It speaks the documented Magnific API over real HTTP and really processes pictures. It shares only the wire with the rest
of Flowport: nothing here imports another package of Flowport. `serve` is the entry point.
"""
