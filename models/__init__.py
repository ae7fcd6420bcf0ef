"""PyTorch definitions with the official key names, their steps and the registry."""
