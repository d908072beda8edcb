"""Evaluates models on held-out images, and decides on promotion.

- `held_out`: loads the images with their ground truth
- `score`: computes a model's metrics on them
- `compact_scenes`: a detector's detections, compressed in memory
- `promotion`: compares champion and challenger, and decides which of them stays the champion
"""
