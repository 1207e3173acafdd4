"""What is shown of runs and batches."""
