"""Redis and RQ.

- `queues`: queues jobs by their dotted names; names Drape's own Redis keys
- `redis_connection`: timeouts and retries for Redis
- `job_records`: RQ's job records: open jobs, lost jobs, removing ended jobs
- `job_progress`: progress of jobs, and why they failed
- `job_claims`: which worker has taken which job
- `lost_jobs`: requeues the jobs of dead workers
- `fair_turns`: projects take turns in a queue
- `worker`: RQ workers that requeue their job when they stop
- `timer`: queues checks of every project at fixed intervals
- `event_inbox`: webhook events that are acknowledged but not queued yet
- `queue_metrics`: metrics of queues and workers for Prometheus
"""
