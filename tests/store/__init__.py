"""Tests of the store; a package, because its modules share names with those of other folders."""
