"""The built-in demo provider: a small service on the loopback interface, so that a first run needs no account.

It speaks the documented Magnific API and really processes pictures. Nothing here imports another package of Flowport.
"""
