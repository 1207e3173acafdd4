"""Tests of the sandbox. A package, so that its file names may recur elsewhere."""
