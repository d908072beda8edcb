"""One module a format of others, and telling which it is."""
