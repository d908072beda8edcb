"""Makes a YOLO data set from approved annotations.

- `build`: writes the data set to disk
- `examples`: training examples, cached
- `perceptual_hashes`: by which copies of a picture are known
- `named_groups`: which images belong together by `SPLIT_BY`
- `split`: which images are held out, permanently
- `sampling`: how often training draws an image
- `manifest`: the contents of a data set, and its hash
"""
