"""What every provider keeps, tried with each of them against its own face of the sandbox."""
