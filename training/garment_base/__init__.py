"""`make garment-base`: trains what a project's first detector starts from where COCO's YOLO11-seg cannot be had.

- `__main__`: the command
- `photograph_set`: reads annotated photographs, and writes a data set for training
- `stages`: trains in two stages: small pictures first, then larger ones
"""
