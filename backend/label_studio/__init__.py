"""Label Studio's API, JSON and XML.

- `connection`: its SDK, the account's token, failures in sentences
- `client`: what a project holds, and what is written back
- `payloads`: its requests as typed models
- `label_config`: a label config, read for what a model needs
- `label_colours`: the colours of labels
- `prompts`: its context as points, boxes, words and the chosen label
- `uploads`: how tasks name their images, and come in
"""
