"""Measures detectors on annotated photographs: some to train on, others to judge.

- `__main__`: `make photographs`
- `palette_config`: the labels of a palette, and its label config
- `schedule`: how good a detector becomes with few and with many photographs
- `recipes`: the recipes for few photographs that are compared
- `order`: how many labels the order that Label Studio serves saves
- `image_scores`: what an image's score tells of its detector's mistakes there
- `students`: which of several architectures learns most from the same photographs in the same time
- `mask_parts`: into how many parts detected masks fall, and what removing the small ones does
- `fixes`: what refining a detector's masks is worth, and clicks on them
- `answers`: a picture of what clicks and detectors answer
"""
