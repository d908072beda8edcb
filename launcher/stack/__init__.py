"""`drape up`: supervised Redis, Label Studio, backend and workers."""
