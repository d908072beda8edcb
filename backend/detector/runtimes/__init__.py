"""What computes YOLO11-seg's network: the detector knows no engine.

- `base`: the protocol, and a network's outputs
- `network`: the network as Ultralytics builds it
- `torch_runtime`: PyTorch
- `openvino_runtime`: OpenVINO
- `openvino_export`: from PyTorch's network to OpenVINO's file
"""
