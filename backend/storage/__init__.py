"""Files and objects that outlive a process.

- `atomic_files`: files and folders that are whole or not there
- `retry`: attempts while Label Studio or a storage is away
- `store`: a folder or a bucket of S3 that several machines share
"""
