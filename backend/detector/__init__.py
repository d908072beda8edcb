"""YOLO11-seg over whole images: loading, preparing a version, mask mAP, SAM in its place."""
