"""`drape backup` and `drape restore`.

- `back_up`: writes one file with everything that Drape and Label Studio store
- `restore`: checks a backup, and puts it back
- `archive`: the file of a backup
- `sources`: where the data of a backup is
- `label_studio_database`: copies and restores SQLite or PostgreSQL
- `redis_state`: the part of Redis that a backup holds
- `model_versions`: the files of model versions that a backup holds
- `replace_files`: moves new files into the place of old ones
"""
