"""Reads approved annotations from Label Studio: their garments and their corrections.

- `approvals`: which annotations count as approved
- `count`: counts them, from what changed in Label Studio
- `truth`: the garments of an annotation
- `corrections`: how people changed predictions
- `survey`: images, work and corrections of a project
"""
