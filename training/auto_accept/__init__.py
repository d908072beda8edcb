"""Finds the score thresholds of a version for auto-accept, and audits what they accept.

- `calibrate`: finds thresholds that keep the promised precision
- `probability`: how likely a region is right, by its label and score
- `audit`: checks whether the promise was kept
"""
