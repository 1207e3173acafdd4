"""What every process needs: clock, background tasks, logging, failpoints."""
