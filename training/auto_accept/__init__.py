"""Finds the score thresholds of a version for auto-accept, and audits what they accept.

- `calibrate`: finds thresholds that keep the promised precision
- `audit`: checks whether the promise was kept
"""
