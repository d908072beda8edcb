"""Model versions: stored, shared among machines, and the records that are stored with each.

- `registry`: each project's line of versions, and its champion
- `files`: how the registry reads and writes the files of versions
- `shared_files`: this machine's copies of versions that several machines share
- `remote_listing`: the cached listing of the shared storage, and its refreshing
- `records`: small JSON files and a report beside a version's weights
- `scores`: a version's metrics on held-out images
- `verdict`: whether a version became the champion, and why
"""
