"""Magnific as a test wants it: the demo's apps behind an API with faults, switches, API variants and webhooks."""
