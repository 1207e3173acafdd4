"""The promises that hold when the process is killed."""
