"""`make hosts`: hosts of network namespaces.

- `__main__`: the command
- `rig`: what runs on which host
- `network`: namespaces and the links between them
"""
