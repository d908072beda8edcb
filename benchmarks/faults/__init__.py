"""`make faults`: random faults in the whole stack, and what must hold after each.

- `__main__`: the command
- `rig`: the stack, and what is done to it
- `proxy`: a connection that can be cut or slowed
- `deadly`: a job that kills its worker
"""
