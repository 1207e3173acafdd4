"""Many rows of one app as one batch."""
