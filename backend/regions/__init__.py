"""Masks to Label Studio's regions and back: polygon, brush, bitmask, rectangle."""
