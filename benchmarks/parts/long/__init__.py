"""Parts of `make bench` that take up to half an hour each, and run only when they are named.

- `large_import`: a large import
- `next_label`: which image to label next
- `promotion`: wrong promotions, simulated
- `ten_thousand`: time and memory at 10,000 approved images
"""
