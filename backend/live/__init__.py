"""The live page: versions of a project's models on a camera, a video or photographs, as they come.

- `frames`: answers one frame with the garments that a version sees in it
- `recent_configs`: the projects' label configs as they were a moment ago
- `tried`: stores a photograph that was tried as a task, with the version's prediction
- `routes`: the page, its assets, and what it asks
"""
