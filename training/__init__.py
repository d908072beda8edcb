"""Trains a better detector from approved labels. Runs in RQ workers; `backend` never imports this package.

- `jobs`: the RQ jobs: count approved labels, start a training when there are enough, train
- `retraining`: the steps of a training
- `judging`: evaluates a new version beside what answers today, and promotes it if it is better
- `runs`: the folders of a training, from which it resumes
- `add_student`: `drape models add`: a student of a comparison becomes a version
- `evaluate`: `drape evaluate`: the metrics of any weights
- `annotations`: approved annotations: their garments, corrections and the survey
- `dataset`: writes approved annotations as a YOLO data set
- `finetuning`: fine-tunes with Ultralytics
- `evaluation`: held-out images, metrics on them, which version becomes the champion
- `auto_accept`: finds score thresholds, and audits them
- `report`: a version's HTML report
- `metrics`: matching of masks, pixel metrics, binomial bounds
- `model_export`: `drape models export`
- `data_in`: `drape import`; `data_in/formats` has a module for each format
- `data_out`: `drape export`; `data_out/wardrobe` is `drape wardrobe`
- `prompt_network`: `make prompt-network`: trains the network for clicks
- `garment_base`: `make garment-base`: trains the starter
- `students`: `drape compare`: other architectures, trained and judged alike
"""
