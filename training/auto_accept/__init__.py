"""Finding the score thresholds of a version, and auditing what was accepted by them."""
