"""Fine-tuning with Ultralytics.

- `finetune`: a training that goes on where it was killed
- `ultralytics_args`: what Ultralytics is told
- `multi_gpu`: a process on each of several GPUs
- `progress`: how far a training is
"""
