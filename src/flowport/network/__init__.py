"""How connections leave this machine: by which proxy, with which trust store, and why one could not be made."""
