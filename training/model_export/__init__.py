"""`drape models export`: other engines' formats, compared with PyTorch."""
