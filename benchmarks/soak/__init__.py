"""`make soak`: a day's load, then overload.

- `__main__`: the command
- `load`: annotators and imports
- `hooks`: webhooks, told from outside
- `overload`: more than is taken on
- `report`: what it writes
"""
