"""What figures are made of.

- `matching`: which detections are which approved regions
- `pixel_metrics`: right pixels, and those near borders
- `binomial`: exact bounds of a share
"""
