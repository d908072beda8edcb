"""One module a format, and telling which it is.

- `detect`: which format a path is in
- `coco`: COCO instances
- `deepfashion2`: DeepFashion2
- `imaterialist`: iMaterialist's table
- `index_masks`: index masks, as ATR and LIP have them
- `label_studio_json`: Label Studio's own JSON
- `parquet`: Parquet with images and masks
- `photographs`: photographs alone
- `yolo`: YOLO segmentation
- `rows_by_image`: rows of a large file, by image
"""
