"""The service that Label Studio talks to: it turns prompts into polygons, and images into pre-annotations.

- `app`: the HTTP service: routes and middleware
- `model`: the same service under `label-studio-ml`'s own runner
- `service`: what each request does, without HTTP
- `connections`: Label Studio, Redis, registry and problems, built from the settings in one place
- `settings`: every setting of requests, images, trainings
- `installation_settings`: every setting of the installation: addresses, secrets, devices, models
- `project_settings`: the file that overrides settings for single projects
- `domain`: the values that pass between stages
- `errors`: every named failure, with its HTTP status and its message
- `telemetry`: logs, metrics, problems, request ids
- `compute`: devices, memory, Ultralytics without side effects
- `storage`: atomic files, and the storage that several machines share
- `label_studio`: Label Studio's API, JSON and XML
- `web`: what happens to a request before its route: checks, and the parsing of its body
- `images`: fetching and decoding a task's image
- `regions`: masks to regions and back
- `registry`: model versions and the records stored with each
- `segmenters`: the models behind prompts: SAM 3, SAM 2.1, Drape's own network
- `detector`: YOLO11-seg over whole images
- `auto_accept`: which predictions are accepted without a person
- `predict`: the answers of `/predict`
- `queues`: Redis and RQ: jobs, backlogs, workers
- `prelabel`: the jobs that pre-annotate
- `status`: the state of each project
- `timer`: queues checks of every project at fixed intervals
- `page`: the status page
- `review`: the review sheet, on which people approve predictions at a look
"""
