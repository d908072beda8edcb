"""One module a group of `drape` commands, and what they print."""
