"""What is left of the promises when the process is killed."""
