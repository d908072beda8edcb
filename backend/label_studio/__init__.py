"""Label Studio's API, JSON and XML.

- `connection`: Label Studio's SDK, the account's token, failures as sentences
- `client`: reads projects and tasks, writes predictions and annotations
- `task_query`: filters over a project's tasks
- `payloads`: Label Studio's requests as typed models
- `config_xml`: a label config's XML, parsed safely
- `label_config`: a label config, read for what a model needs
- `label_colours`: the colours of labels
- `data_keys`: the image in a task's data
- `data_url`: images that a task holds itself
- `prompts`: Label Studio's context as points, boxes, words and the chosen label
- `uploads`: addresses of images, uploads, imports of tasks
"""
