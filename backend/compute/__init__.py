"""What this machine computes with: devices, the memory allocator, Ultralytics without side effects."""
