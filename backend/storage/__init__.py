"""Files and objects that outlive a process.

- `atomic_files`: files and folders that appear complete or not at all
- `retry`: retries while Label Studio or the storage is unreachable
- `store`: the folder or S3 bucket that several machines share
"""
