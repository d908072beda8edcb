"""Drawn figures of people in layered Indian garments, with exact masks: for the demo, the tests and the benchmarks.

- `figures`: whole pictures
- `garments`: outlines of garments on a pose
- `pose`: the joints of a figure
- `fabric`: colours, patterns and folds of cloth
- `scene`: walls, floors, furniture and light
- `canvas`: a picture that records which layer each pixel shows
- `write`: writes figures as files
"""
