"""Auto-accept: which predictions are accepted without a person, how they are marked, and how they are withdrawn.

- `calibration`: a version's score thresholds, which `training/auto_accept/calibrate.py` finds
- `gate`: decides: accept, leave for review, or leave for audit
- `triage`: divides a job's predictions by these decisions
- `marks`: marks accepted annotations; whether a person has changed one since
- `withdraw`: deletes the annotations that a version had accepted
"""
