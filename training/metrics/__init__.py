"""The functions that metrics are computed with.

- `matching`: pairs detections with approved regions
- `pixel_metrics`: pixel accuracy, IoU, Dice and boundary IoU
- `interactive`: clicks as a simulated annotator makes them, and how many a segmenter needs
- `mean_defined`: means of metrics that some labels or images do not have
- `binomial`: exact confidence bounds of a share
"""
