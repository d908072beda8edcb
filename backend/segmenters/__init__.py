"""Promptable models behind one small protocol, and kept image embeddings.

- `base`: the protocols. A new model is a module here and a line in `loader`
- `loader`: which one answers; loaded once, in the background
- `sam3`: SAM 3: clicks and boxes, words and examples
- `sam3_checkpoint`: its checkpoint's two heads on one backbone
- `sam`: SAM 2.1 and MobileSAM
- `classical`: no weights: regions of like colour
- `region_growing`: what a click or a box means by colour alone
- `embedding_cache`: an image is encoded once, kept in tiers
- `embedding_tiers`: memory of a device, disk, shared storage
- `embedding_files`: an embedding as a safetensors file
"""
