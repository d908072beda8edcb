"""Drape's own small network for clicks and boxes on garments. Its weights lie in `weights`.

- `segmenter`: answers prompts with the network
- `frames`: the part of a picture that the network sees
- `prompt_maps`: how the network is shown clicks, boxes and the mask so far
- `network`: computes the network with OpenVINO
"""
