"""A bundle's ONNX graphs as PyTorch modules, as they are or put together for torch.compile on a GPU."""
