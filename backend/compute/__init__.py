"""What this machine computes with.

- `devices`: where models run, and how much of a GPU's memory they may take
- `malloc`: memory of C libraries, given back to the system
- `quiet_ultralytics`: Ultralytics without its phoning home
"""
