"""Model versions: stored, shared among machines, and the records that are stored with each.

- `registry`: each project's line of versions, and its champion
- `index`: the file that names a project's champion and versions, and how it changes in one step
- `files`: the files of versions, stored by the hash of their content
- `records`: small JSON files and a report that are stored with a version
- `scores`: a version's metrics on held-out images
- `verdict`: whether a version became the champion, and why; `training/evaluation/promotion.py` decides
"""
