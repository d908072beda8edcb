"""`make soak`: a day's load, then overload."""
