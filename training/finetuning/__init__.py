"""Fine-tuning with Ultralytics: arguments, training, several GPUs, progress."""
