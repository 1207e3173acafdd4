"""Pure terms and rules: nothing here does I/O or waits."""
