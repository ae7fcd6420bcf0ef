"""What stands for ONNX Runtime's CUDA provider where there is no GPU: CPU sessions on the stand-in's memory."""

import ctypes

import numpy as np


class FakeCudaSession:
    """A session of ONNX Runtime's CUDA provider: a CPU one on what lies at the addresses, in the stream it was given.

    With a CUDA graph, the second run of a graph's number is captured and replayed from then on, whatever is bound then.
    `options`: what the provider was asked for.
    """

    def __init__(self, session, runtime, options):
        self.session, self.runtime, self.options = session, runtime, options
        self.stream = int(options["user_compute_stream"])
        self.runs, self.captured, self.released = {}, {}, []
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def io_binding(self):
        return FakeBinding()

    def run_with_iobinding(self, binding, run_options):
        assert run_options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        bound = dict(binding.bound)
        if self.options.get("enable_cuda_graph") == "1":
            number = run_options.get_run_config_entry("gpu_graph_id")
            self.runs[number] = self.runs.get(number, 0) + 1
            if self.runs[number] == 2:
                self.captured[number] = bound
            if self.runs[number] > 2:
                bound = self.captured[number]
                self.runtime.calls.append(("launch", self.stream))
        self.runtime.put(lambda: self._run(bound), self.stream)

    def release_captured_graph(self, number=0):
        self.released.append(number)
        del self.captured[str(number)]

    def _run(self, bound):
        names = [value.name for value in self.session.get_outputs()]
        results = self.session.run(names, {v.name: at(*bound[v.name]) for v in self.session.get_inputs()})
        for name, result in zip(names, results, strict=True):
            at(*bound[name])[...] = result


class FakeBinding:
    def __init__(self):
        self.bound = {}

    def bind_input(self, name, device_type, device_id, element_type, shape, buffer_ptr):
        assert (device_type, device_id) == ("cuda", 0)
        self.bound[name] = element_type, shape, buffer_ptr

    bind_output = bind_input


def at(dtype, shape, address):
    """The array of host memory at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype).reshape(shape)
