"""The training loop, checkpoints, gradient clipping, optimizers and distributed training."""
