"""Redis and RQ.

- `queues`: queues jobs by their dotted names; names Drape's own Redis keys
- `comparisons`: the jobs of `drape compare`, a student each
- `backlog`: tasks that wait for a job: projects take turns
- `worker`: RQ workers, one queue each, that put their job back when they stop
- `job_function`: what every job does at its start
- `job_records`: RQ's job records: open jobs, tasks left, reasons, removing ended jobs
- `job_progress`: the state of all queues, for the status page
- `redis_connection`: timeouts and retries for Redis
- `event_inbox`: webhook events that are acknowledged but not queued yet
- `queue_metrics`: metrics of queues and workers for Prometheus
"""
