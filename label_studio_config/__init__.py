"""Label configs, the demo figures, and the code that sets up a Label Studio project.

- `palette_xml`: makes a label config from any list of labels, with their colours and hot keys
- `palettes`: the palettes that come with Drape
- `provision`: sets up projects, backends, webhooks and storages
- `uploads`: uploads images to a Label Studio that cannot read this disk
- `demo`: drawn figures
"""
