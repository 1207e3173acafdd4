"""Tests of the ledger; a package, because its modules share names with those of other folders."""
