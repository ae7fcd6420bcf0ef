"""The machine's measured peak: the largest rate at which a product of two matrices runs, on so many threads.

It is what a network's multiplications could run at. The product is ONNX Runtime's, in float32; the processor's paper
figure, which no program reaches, would say less.
"""

import os
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from .onnx_wire import matmul_model

SIDE = 1024
RUNS = 4
"""Products a turn; the fastest counts."""


class Gemm:
    """Measures the peak at each of `threads`, a turn at a time. Without ONNX Runtime nothing is measured."""

    def __init__(self, threads: Sequence[int]):
        self.rates: dict[int, list[float]] = {count: [] for count in threads}
        """GFLOP/s of every turn, by number of threads."""
        self._sessions: dict[int, Any] = {}
        try:
            import onnxruntime
        except ImportError:
            return
        random = np.random.default_rng(0)
        self._feeds = {name: random.standard_normal((SIDE, SIDE), np.float32) for name in ("a", "b")}
        for count in threads:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = count
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
            self._sessions[count] = onnxruntime.InferenceSession(
                matmul_model(SIDE), options, providers=["CPUExecutionProvider"]
            )

    def turn(self) -> None:
        """Measure once more at every number of threads."""
        for count, session in self._sessions.items():
            fastest = min(self._seconds(session) for _ in range(RUNS))
            self.rates[count].append(2 * SIDE**3 / fastest / 1e9)

    def peak(self, threads: int) -> float | None:
        """Return the peak in GFLOP/s, None where nothing was measured."""
        return max(self.rates.get(threads, []), default=None)

    def _seconds(self, session: Any) -> float:
        began = perf_counter()
        session.run(None, self._feeds)
        return perf_counter() - began
