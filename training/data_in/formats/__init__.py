"""Readers of data set formats, one module for each, and the code that recognises a format.

- `detect`: recognises the format of a path, and opens it
- `annotation_files`: recognises files of annotations by their content
- `ccp`: Clothing Co-Parsing
- `coco`: COCO instances
- `deepfashion2`: DeepFashion2
- `imaterialist`: iMaterialist's CSV table
- `index_masks`: index masks, as in ATR and LIP
- `label_studio_json`: Label Studio's own JSON
- `labelme`: labelme's JSON files
- `parquet`: Parquet with images and masks
- `photographs`: photographs without annotations
- `yolo`: YOLO segmentation
"""
