"""Label configs, the demo figures, and the code that sets a Label Studio project up.

- `palette_xml`: a label config from any list of labels
- `palettes`: the palettes that come with Drape
- `provision`: projects, backends, webhooks, storages
- `uploads`: images into a Label Studio elsewhere
- `demo`: drawn figures
"""
