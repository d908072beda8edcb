"""Reads approved annotations from Label Studio: their garments and their corrections.

- `approvals`: which annotations count as approved
- `stored_regions`: their regions, in files
- `count`: counts them, from what changed in Label Studio
- `truth`: the garments of an annotation
- `label_cache`: the labels of its garments, cached
- `corrections`: how people changed predictions
- `survey`: images, work and corrections of a project
"""
