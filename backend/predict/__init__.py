"""Answers `/predict`, stage by stage. `backend/web/admission.py` limits how many requests are answered at once.

- `interactive`: answers prompts, or tells the annotator why not; the file to read first
- `fix_in_place`: a click on a region that is shown fixes it in its place
- `recent_fixes`: what annotators accepted and Label Studio has not saved yet
- `batch`: predicts whole images
- `garments`: from what a detector found to the garments that are stored
- `prewarm`: encodes the images of the opened task and of the next tasks before the first prompt
- `sticky_words`: the phrase that last found something in a project
"""
