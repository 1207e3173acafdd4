-- Procrastinate looks for each candidate whether another job of its lock is waiting or executed, and has no index for that.
CREATE INDEX jobs_by_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing');
