"""What an NVIDIA GPU makes of the models, in four minutes: `make bench-gpu`.

- `__main__`: the command
- `figures`: one measured figure, the clock that waits for the device, the table
- `click_models`: SAM 3 at full size in each precision, and the built-in network
- `detectors`: YOLO11-seg in batches, from JPEG to regions, and a step of its training
"""
