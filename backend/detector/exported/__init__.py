"""Networks of other architectures than YOLO's: what their outputs mean, and a detector that runs one in OpenVINO.

- `answers`: the two kinds of outputs, and what a network answers to an image
- `label_maps`: reads a label for each pixel: garments are connected regions
- `instances`: reads boxes with a mask in each
- `detector`: runs an exported network over whole images
"""
