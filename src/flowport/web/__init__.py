"""HTTP: the transport, its addresses and its request bodies."""
