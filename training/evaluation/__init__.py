"""Held-out images, scoring a model on them, promoting it or not."""
