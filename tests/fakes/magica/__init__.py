"""The sandbox's second face: the API of Magica over the same apps, engine, files, faults and counts.

It lies under `/magica` on the sandbox's own port. Much of the real API is not published; what was inferred is marked
where it is built, and `dialect.py` holds the forms between which a test may switch.
"""
