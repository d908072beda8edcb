"""`drape models export`: other engines' formats.

- `export`: the exported model, whole or not there
- `compare`: it beside PyTorch's
- `formats`: which formats this machine can make
"""
