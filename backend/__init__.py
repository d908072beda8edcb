"""The service that Label Studio talks to: prompts become polygons, images become pre-annotations.

- `app`: the HTTP service: routes and middleware
- `model`: the same service under `label-studio-ml`'s own runner
- `service`: what each request does; knows no HTTP
- `connections`: Label Studio, Redis, registry and problems, made from settings in one place
- `settings`: every setting of requests, images, trainings
- `installation_settings`: every setting of the installation: addresses, secrets, devices, models
- `project_settings`: the file of settings that projects have of their own
- `domain`: the values that travel between stages
- `errors`: every named failure, with its HTTP status and its sentence
- `telemetry`: logs, metrics, problems, request ids
- `compute`: devices, memory, Ultralytics without side effects
- `storage`: files and objects that outlive a process
- `label_studio`: Label Studio's API, JSON and XML
- `web`: what stands before the routes
- `images`: fetching and decoding a task's image
- `regions`: masks to regions and back
- `registry`: model versions and the records kept with each
- `segmenters`: the models behind prompts: SAM 3, SAM 2.1, classical
- `detector`: YOLO11-seg over whole images
- `auto_accept`: what is accepted without a person
- `predict`: the answers of `/predict`
- `queues`: Redis and RQ: jobs, turns, claims, workers, timer
- `prelabel`: the jobs that pre-annotate
- `status`: what is known of projects
- `page`: the status page
"""
