"""Answers `/predict`, stage by stage.

- `interactive`: answers prompts; the file to read first
- `batch`: predicts whole images
- `garments`: from what a detector found to the garments that are stored
- `prewarm`: encodes images before the first prompt
- `sticky_words`: the phrase that last found something in a project
"""
