"""The detectors of garments in whole images: YOLO11-seg, and networks of other architectures.

- `yolo11`: prepares images for the network, and reads detections from its outputs
- `exported`: networks of other architectures, as OpenVINO files
- `starter`: the base for garments that comes with Drape
- `detector_pool`: the loaded detectors of the projects
- `sam_detectors`: SAM instead of a detector, or a segmenter's masks for a detector's
- `preparation`: the record of a version's preparation: runtime, clusters
- `prepare`: prepares a version: chooses and verifies its runtime, finds clusters of images
- `clusters`: groups of similar images
- `average_precision`: COCO's average precision, of masks and boxes
- `runtimes`: the engines that compute the network
"""
