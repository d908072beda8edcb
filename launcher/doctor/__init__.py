"""`drape doctor`: one module for each thing that it checks.

- `run_checks`: runs all checks, in order
- `findings`: the result of a check, and how it is printed
- `label_studio`: its address, version and clock, and our token
- `redis`: the server, its workers and the timer
- `projects`: the backend, connections, webhooks, label configs, images
- `machine`: devices, memory, disk
- `storage`: the storage that several machines share
- `weights`: weights that settings name, and weights of current models
"""
