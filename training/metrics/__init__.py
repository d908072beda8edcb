"""Matching of masks, pixel metrics, exact binomial bounds."""
