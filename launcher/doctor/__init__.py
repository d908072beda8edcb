"""`drape doctor`: one module for each thing that is looked at.

- `examine`: all of it, in order
- `findings`: how it is said
- `label_studio`: its address, version, clock, our token
- `redis`: the queues, and who works on them
- `projects`: connections, webhooks, label configs, images
- `machine`: device, disk, port
- `storage`: what several machines share
- `weights`: weights of settings and of models
"""
