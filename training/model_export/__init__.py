"""`drape models export`: a model version in the format of another inference engine.

- `export`: exports a version, compares it and times it
- `compare`: compares an export with PyTorch
- `formats`: the formats that this machine can make
"""
