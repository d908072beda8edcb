"""A version's HTML report.

- `report`: what goes into it, and the page
- `score_table`: figures beside the champion's
- `plots`: precision, recall, confusions
- `pictures`: photographs with garments outlined
- `changes`: what it was trained on, and its parent was not
- `doubts`: approved labels that the model contradicts
- `doubt_pictures`: those, as pictures
"""
