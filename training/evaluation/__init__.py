"""Held-out images, a model's scores on them, and promotion.

- `held_out`: the images, with what was approved
- `score`: a model's figures on them
- `compact_scenes`: what a detector found, kept small
- `promotion`: champion and challenger
"""
