"""CUDA: the calls that the engine makes, and kernels of its own."""
