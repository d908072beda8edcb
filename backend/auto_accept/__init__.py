"""Which predictions are accepted without a person, how they are marked and withdrawn.

- `calibration`: the score thresholds of a version, and their evidence
- `gate`: accepted, left for review, or for audit
- `marks`: what marks an accepted annotation; whether a person touched it
- `withdraw`: takes back what a version had accepted
"""
