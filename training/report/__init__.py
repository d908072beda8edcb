"""Writes a version's HTML report.

- `report`: collects the contents, and renders the page
- `score_table`: the version's metrics beside the champion's
- `plots`: precision-recall curves and the confusion matrix
- `pictures`: photographs with outlined garments
- `changes`: training data that the parent did not have
- `doubts`: approved annotations that the model contradicts
- `doubt_pictures`: the doubts as pictures
"""
