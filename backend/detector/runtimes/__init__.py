"""The engines that compute YOLO11-seg's network, behind one protocol, so that the detector depends on none of them.

`backend/detector/prepare.py` chooses the runtime of a version.

- `base`: the protocol of a runtime, and the network's outputs
- `network`: the network as Ultralytics builds it
- `torch_runtime`: computes the network with PyTorch
- `openvino_runtime`: computes the network with OpenVINO
- `openvino_export`: converts a PyTorch network to OpenVINO's file
"""
