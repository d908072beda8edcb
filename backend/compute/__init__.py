"""The machine's devices and memory, and the libraries' global state.

- `devices`: where models run, and how much of a GPU's memory they may take
- `malloc`: returns unused memory of C libraries to the system
- `own_process`: runs a function in a process of its own
- `quiet_openvino`: OpenVINO without telemetry, and without its changes to the log
- `quiet_ultralytics`: Ultralytics without telemetry and automatic installs
"""
