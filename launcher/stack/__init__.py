"""`drape up`.

- `leftovers`: deletes what killed processes of Drape left incomplete
- `stack`: everything that it starts, in order
- `supervisor`: child processes: restarted when they die, ended together
- `siblings`: several programs that stop together
- `redis_server`: the Redis that it runs
- `label_studio_server`: the Label Studio that it runs
- `health`: whether the backend, a worker or the timer runs
- `library_folders`: where libraries keep their own settings
- `priority`: the CPU priority of a process
- `saved_settings`: addresses and secrets that it stores for other commands
- `secret_files`: secrets that are created once and stored
"""
