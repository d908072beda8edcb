"""A task's image: its address, fetching it safely, decoding it within limits."""
