"""The durable record of runs: interface, records, liveness, maintenance; one adapter per database."""
