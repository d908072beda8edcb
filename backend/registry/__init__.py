"""Model versions: stored, shared among machines, and the records kept with each."""
