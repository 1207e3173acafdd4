"""Runs, from the accepted call to the saved result. Nothing here knows of MCP.

`preparing` turns arguments into what the provider is sent, `starting` sends it exactly once, `following` looks at the
run until it is over, `saving` keeps its outputs, `board` is what this process knows of its live runs, and `runs` ties
them together for those who ask.
"""
