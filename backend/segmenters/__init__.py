"""Promptable models behind one small protocol, and cached image embeddings.

- `base`: the protocols; a new model needs a module here and a line in `loader`
- `loader`: chooses the segmenter and loads it once, in the background
- `sam3`: SAM 3: clicks and boxes, words and examples
- `sam3_checkpoint`: loads SAM 3's checkpoint as two heads on one backbone
- `sam`: SAM 2.1 and MobileSAM
- `sam_weights`: the weights of `SAM_WEIGHTS=auto`, and their download
- `builtin`: Drape's own small network, whose weights come with it
- `embedding_cache`: encodes each image once and caches its embeddings in tiers
- `embedding_tiers`: the tiers: memory of a device, disk, shared storage
- `embedding_files`: writes and reads an embedding as a safetensors file
"""
