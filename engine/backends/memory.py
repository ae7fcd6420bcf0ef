"""A GPU whose memory is full: each runtime says so in words of its own, and all mean the same."""

MARKS = ("out of memory", "outofmemory", "failed to allocate", "cudaerrormemoryallocation")
"""In an error of CUDA, TensorRT, ONNX Runtime or PyTorch, small letters: there was no memory left."""
ADVICE = "its memory is full: take a smaller model, track fewer targets or videos at once, or end what else uses it"


def is_full(reason: str) -> bool:
    """Whether `reason` says that there was no memory left."""
    return any(mark in reason.lower() for mark in MARKS)


def advised(reason: str) -> str:
    """Return `reason`, with what to do behind it where there was no memory left."""
    return f"{reason.rstrip(': .')}: {ADVICE}" if is_full(reason) else reason
