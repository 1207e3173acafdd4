"""The apps that an account can run: listed, named, cached on disk, and offered as tools.

`listing` holds a snapshot, `refresher` keeps it current through `snapshots`; `ranking` chooses the listed
tools, `search` finds apps; `schema`, `arguments`, `values` and `readings` describe and check what a tool accepts.
"""
