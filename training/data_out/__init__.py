"""Exports approved garments in the formats of others.

- `export_data`: selects garments, and writes them in one of the formats
- `garment_images`: images with their garments, for all formats but YOLO
- `coco`: COCO instances
- `index_masks`: index masks
- `cutouts`: transparent PNGs and a table of the wardrobe
- `wardrobe`: cut-outs with a page to search them
- `picture_files`: writes pictures as files
- `colour_names`: names the colours of a garment
- `left_out`: says what an export leaves out
- `file_names`: makes safe file names from names that others chose
"""
