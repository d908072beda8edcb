"""`make flywheel`: trainings in turn, with simulated annotators.

- `__main__`: the command
- `annotators`: what a correction takes, by assumption
- `unseen`: figures that nobody labels
- `vocabulary`: labels under other names
- `report`: what it writes
"""
