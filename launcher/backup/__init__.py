"""`drape backup` and `drape restore`."""
