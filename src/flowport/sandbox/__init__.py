"""The built-in provider: a small service on the loopback interface, so that a first run needs no account.

It speaks both path families of the Magnific API over real HTTP and really processes pictures. It shares only the wire
with the rest of Flowport: nothing here imports anything of ours outside this package. `serve` is the way in.
"""
