"""How a running Flowport is reached, and how it ends."""
