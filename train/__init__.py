"""Training: data and layouts, augmentation, labels, losses, schedules, the loop and its checkpoints."""
