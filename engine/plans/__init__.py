"""TensorRT plans of a bundle: the library in all its versions, how a plan is built, and where it is kept."""
