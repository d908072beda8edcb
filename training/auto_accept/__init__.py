"""Finding the score thresholds of a version, and auditing what was accepted by them.

- `calibrate`: thresholds that keep a promise
- `audit`: whether it was kept
"""
