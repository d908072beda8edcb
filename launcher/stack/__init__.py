"""`drape up`.

- `stack`: all that it starts, in order
- `supervisor`: child processes, restarted and ended together
- `redis_server`: a Redis of its own
- `label_studio_server`: a Label Studio of its own
- `health`: whether what runs answers
- `priority`: who goes first on a machine
- `saved_settings`: what it leaves for other commands
- `secret_files`: secrets that are made once
"""
