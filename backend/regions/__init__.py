"""Masks to Label Studio's regions and back: no stage here knows a model or a framework.

- `encode`: masks as regions
- `decode`: regions as masks
- `polygons`: masks and outlines of few vertices
- `mask_borders`: borders along pixels' edges; parts and holes mended
- `line_fit`: a pixel border as few straight lines
- `brush`: Label Studio's run-length code
- `bitmask`: its PNG in a data URL
- `mask_size`: a mask at another size of its image
- `mask_runs`: a mask as COCO's runs
- `content_hash`: what an annotation shows, as one hash
- `exclusive`: a new region takes no pixel of those accepted
- `selection`: which detections become regions, under which label
"""
