"""What Drape takes and how good it is, measured side by side with what there was before: `make bench`."""
