"""Measures detectors on annotated photographs: some to train on, others to judge.

- `__main__`: `make photographs`
- `photograph_set`: reads the photographs, and writes a data set for training
- `schedule`: how good a detector becomes with few and with many photographs
- `mask_parts`: into how many parts detected masks fall, and what removing the small ones does
"""
