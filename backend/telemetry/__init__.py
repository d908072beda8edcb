"""Logs, metrics and reported problems.

- `logs`: log records as text or JSON, with the ids of request and job
- `metrics`: counters and timings in Prometheus' format
- `printable`: text from outside, made safe for a line of a log or a terminal
- `problems`: the latest problems, stored in Redis for `GET /status`
- `request_ids`: one id for a request and the jobs that it leads to
"""
