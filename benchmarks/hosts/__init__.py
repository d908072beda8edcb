"""`make hosts`: four hosts of network namespaces."""
