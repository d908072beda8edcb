"""YOLO11-seg over whole images.

- `yolo11`: prepares images for the network, and reads detections from its outputs
- `starter`: the base for garments that comes with Drape
- `detector_pool`: the loaded detectors of the projects
- `sam_detectors`: SAM instead of a detector, or a segmenter's masks for a detector's
- `preparation`: the record of a version's preparation: runtime, clusters
- `prepare`: prepares a version: chooses and verifies its runtime, finds clusters of images
- `clusters`: groups of similar images
- `average_precision`: COCO's average precision, of masks and boxes
- `runtimes`: the engines that compute the network
"""
