"""Fine-tunes YOLO11-seg with Ultralytics.

- `finetune`: runs a training, and resumes one that was killed
- `schedule`: how long a training lasts
- `ultralytics_args`: the arguments of a training
- `batch_norm`: keeps the statistics of batch normalisation
- `half_precision`: trains in bfloat16 on a CPU that computes in it
- `multi_gpu`: trains on several GPUs, a process on each
- `progress`: reports the progress of a training
"""
