"""Redis and RQ.

- `queues`: what is queued, by job names; each of its Redis keys
- `redis_connection`: how long Redis is waited for
- `job_records`: RQ's records of jobs: open, lost, making room
- `job_progress`: how far jobs are, and why they failed
- `job_claims`: which worker has taken which job
- `lost_jobs`: puts jobs of dead workers back
- `fair_turns`: projects take turns in a queue
- `worker`: RQ's workers, which give their job back when they stop
- `timer`: what is done by the clock
- `event_inbox`: events that are acknowledged, and not queued yet
- `queue_metrics`: what Redis knows, in Prometheus' form
"""
