"""What is logged, counted and reported.

- `logs`: log records as text or JSON, with the ids of request and job
- `metrics`: counters and timings in Prometheus' form
- `printable`: names that others gave, on one line of a log or a terminal
- `problems`: what went wrong lately, kept in Redis for `GET /status`
- `request_ids`: one id from a request to its jobs
"""
