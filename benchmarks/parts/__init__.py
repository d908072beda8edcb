"""`make bench`: one module a part.

- `click`: an annotator's click
- `sam3`: SAM 3
- `polygon`: polygons
- `brush`: brushes
- `quality`: masks after so many clicks
- `prelabel`: pre-annotation
- `dataset`: data sets
- `judging`: what follows a training
- `large_import`: a large import
- `next_label`: which image to label next
- `promotion`: wrong promotions, simulated
- `ten_thousand`: time and memory at 10,000 approved images
"""
