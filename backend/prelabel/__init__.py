"""The RQ jobs that pre-annotate images, and encode them ahead.

- `jobs`: plan, share out, predict, write clusters
- `run`: one such job, step by step
- `embed`: the job that encodes images ahead
- `worker_models`: the models that a worker's jobs share
- `task_claims`: which run of which job predicts a task
- `task_marks`: what was answered or failed lately
- `pace`: images predicted a minute
"""
