"""`drape backup` and `drape restore`.

- `back_up`: one file with all that is kept
- `restore`: put back, once it was looked through
- `archive`: that file
- `sources`: where everything lies
- `label_studio_database`: SQLite or PostgreSQL
- `redis_state`: what is kept of Redis
- `model_versions`: what is kept of models
- `replace_files`: new files in the place of old ones
"""
