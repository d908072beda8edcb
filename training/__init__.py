"""From approved labels to a better detector. Runs in RQ workers; `backend` never imports this package.

- `jobs`: the RQ jobs: count approved labels, train on them
- `retraining`: one training, step by step
- `runs`: where a training works, so that it can go on
- `evaluate`: `drape evaluate`: scores any weights
- `annotations`: what people approved, showed and corrected
- `dataset`: approved annotations as a YOLO data set
- `finetuning`: Ultralytics
- `evaluation`: held-out images, scores, promotion
- `auto_accept`: score thresholds, and audits of them
- `report`: a version's HTML report
- `metrics`: matching, pixel metrics, binomial bounds
- `model_export`: `drape models export`
- `data_in`: `drape import`
- `data_out`: `drape export`
"""
