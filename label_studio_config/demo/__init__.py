"""Drawn figures of people in layered Indian garments, with exact masks: for the demo, the tests and the benchmarks.

- `figures`: whole pictures
- `garments`: outlines of garments on a pose
- `pose`: a figure's joints
- `fabric`: colours, patterns, folds
- `scene`: walls, floors, furniture, light
- `canvas`: which layer each pixel shows
- `write`: figures as files
- `train_starter`: trains the starter model
"""
