"""`make bench`: one module a part.

- `click`: an annotator's click
- `sam3`: SAM 3
- `polygon`: polygons
- `brush`: brushes
- `quality`: masks after so many clicks
- `prelabel`: pre-annotation
- `dataset`: data sets
- `judging`: what follows a training
- `training`: an epoch of a fine-tuning
- `long`: those that run only when they are named
"""
