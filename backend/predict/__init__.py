"""The answers of `/predict`, stage by stage.

- `interactive`: prompts; the file to read first
- `batch`: whole images
- `prewarm`: encodes images before they are asked for
- `sticky_words`: the phrase that last found something in a project
"""
