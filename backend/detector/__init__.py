"""YOLO11-seg over whole images.

- `yolo11`: preparation of images, and what the network's outputs mean
- `detector_pool`: the projects' detectors, loaded
- `sam_detectors`: SAM in the detector's place, or at its side
- `preparation`: what was made of a version once: runtime, clusters
- `prepare`: makes it, and verifies the runtime
- `clusters`: groups of alike images
- `average_precision`: COCO's, of masks and boxes
- `runtimes`: what computes the network
"""
