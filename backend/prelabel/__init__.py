"""The RQ jobs that pre-annotate images, and encode them ahead.

- `jobs`: the jobs: plan, share out, predict, write clusters
- `run`: one pre-annotation job, step by step
- `prepare_version`: prepares a version that was not prepared at its promotion, in a process of its own
- `embed`: the job that encodes images ahead
- `worker_models`: the loaded models that a worker's jobs share
- `task_claims`: records which run of which job predicts a task
- `task_marks`: records which tasks were answered or failed lately
- `pace`: counts the images predicted per minute
"""
