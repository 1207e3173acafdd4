"""Fake providers, over real HTTP. `python -m tests.fakes` runs them as a process; tests run them in their own event loop too."""
