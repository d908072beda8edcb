"""Converts masks to Label Studio's regions and back; no module here depends on a model or a framework.

- `encode`: writes masks as regions
- `decode`: reads regions as masks
- `polygons`: converts masks to outlines with few vertices, and outlines to masks
- `mask_borders`: traces mask borders along pixel edges; removes, cuts and joins parts and holes
- `line_fit`: replaces a pixel border by few straight lines
- `brush`: Label Studio's brush: masks in a run-length code
- `bitmask`: Label Studio's bitmask: masks as a PNG in a data URL
- `mask_size`: resizes a mask to another size of its image
- `mask_runs`: encodes a mask in COCO's run-length encoding
- `content_hash`: a hash of the visible content of an annotation
- `exclusive`: keeps a new region off the pixels of accepted regions
- `selection`: chooses which detections become regions, and under which label
"""
