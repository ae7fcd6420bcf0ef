"""The engine: a bundle becomes boxes. NumPy, OpenCV and one runtime; never PyTorch."""
