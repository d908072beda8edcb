"""The functions that metrics are computed with.

- `matching`: pairs detections with approved regions
- `pixel_metrics`: pixel accuracy, IoU, Dice and boundary IoU
- `binomial`: exact confidence bounds of a share
"""
