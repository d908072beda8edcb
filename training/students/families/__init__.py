"""The architectures that are compared, a module each.

- `yolo`: Ultralytics' YOLO11-seg and YOLOv8-seg
- `mask_rcnn`: torchvision's Mask R-CNN
- `segformer`: SegFormer-B2 of `transformers`
- `unet`: U-Net of `segmentation-models-pytorch`, for clothing or not
"""
