"""What computes YOLO11-seg's network: behind one small protocol, so that the detector knows no engine."""
