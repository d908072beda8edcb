"""Model versions: stored, shared among machines, and the records kept with each.

- `registry`: versions, one line a project, and the champion
- `files`: the files of versions, as the registry sees them
- `shared_files`: this machine's copies of what several machines share
- `remote_listing`: what the shared storage holds, and how old that is
- `records`: small JSON files and a report beside a version's weights
- `scores`: a version's figures on held-out images
- `verdict`: whether it took the champion's place, and why
"""
