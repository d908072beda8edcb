"""Approved garments in the formats of others: COCO, index masks, cut-outs with a table of the wardrobe."""
