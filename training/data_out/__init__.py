"""Approved garments in the formats of others.

- `export_data`: chosen, and written in one of the formats
- `garment_images`: what every format is made from
- `coco`: COCO instances
- `index_masks`: index masks
- `cutouts`: transparent PNGs and a table of the wardrobe
- `colour_names`: colours in words
- `file_names`: names of others as names of files
"""
