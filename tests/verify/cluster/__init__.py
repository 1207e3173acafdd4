"""A team on PostgreSQL as real processes: replicas, workers, a provider, a proxy, and what happens to them."""
