"""Approved annotations become a YOLO data set.

- `build`: the data set on disk
- `examples`: one annotation made ready, and kept
- `split`: which images are held out, for ever
- `sampling`: how often an image is drawn
- `manifest`: what a data set holds, and its hash
"""
