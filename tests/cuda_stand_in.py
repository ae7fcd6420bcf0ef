# ruff: noqa: N802, N815
"""What stands for CUDA and TensorRT where there is no GPU: host memory, and ONNX Runtime as the engine."""

import ctypes
from enum import Enum
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime


class Code(Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorUnknown = 999


class FakeRuntime:
    """`cuda.bindings.runtime` on host memory. What is put into the stream runs at the next synchronisation.

    `fails`: call to name of the error that it returns.
    """

    cudaError_t = Code
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, fails=None):
        self.fails = fails or {}
        self.memory = {}
        self.queue = []
        self.recording = None
        self.launched = 0
        self.waited = 0
        self.streams = 0

    def put(self, work):
        """Put `work` into the stream, or into the graph that is being captured."""
        (self.queue if self.recording is None else self.recording).append(work)

    def _done(self, name, *values):
        if name in self.fails:
            return (Code[self.fails[name]], *(None for _ in values))
        return (Code.cudaSuccess, *values)

    def _allocated(self, size):
        array = np.full(size, 170, np.uint8)
        self.memory[array.ctypes.data] = array
        return array.ctypes.data

    def cudaGetDeviceCount(self):
        return self._done("cudaGetDeviceCount", 1)

    def cudaSetDevice(self, index):
        return self._done("cudaSetDevice")

    def cudaGetDeviceProperties(self, index):
        return self._done("cudaGetDeviceProperties", SimpleNamespace(name=b"Stand-in GPU", major=8, minor=6))

    def cudaStreamCreateWithFlags(self, flags):
        self.streams += 1
        return self._done("cudaStreamCreateWithFlags", 76 + self.streams)

    def cudaMalloc(self, size):
        if "cudaMalloc" in self.fails:
            return self._done("cudaMalloc", None)
        return self._done("cudaMalloc", self._allocated(size))

    def cudaHostAlloc(self, size, flags):
        return self._done("cudaHostAlloc", self._allocated(size))

    def cudaFree(self, address):
        del self.memory[address]
        return self._done("cudaFree")

    def cudaFreeHost(self, address):
        return self.cudaFree(address)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        self.put(lambda: ctypes.memmove(target, source, size))
        return self._done("cudaMemcpyAsync")

    def cudaStreamSynchronize(self, stream):
        queue, self.queue = self.queue, []
        for work in queue:
            work()
        self.waited += 1
        return self._done("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream, mode):
        self.recording = []
        return self._done("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream):
        graph, self.recording = self.recording, None
        return self._done("cudaStreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph, flags):
        return self._done("cudaGraphInstantiate", tuple(graph))

    def cudaGraphLaunch(self, graph, stream):
        self.launched += 1
        self.queue.extend(graph)
        return self._done("cudaGraphLaunch")


class Logger:
    ERROR, INTERNAL_ERROR, WARNING = "error", "internal error", "warning"


class FakeContext:
    """Runs the graph in ONNX Runtime on what lies at the addresses."""

    def __init__(self, session, runtime):
        self.session, self.runtime = session, runtime
        self.addresses = {}

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert 77 <= stream <= 76 + self.runtime.streams
        self.runtime.put(self._run)
        return True

    def _run(self):
        def at(value):
            dtype = np.dtype(
                {"tensor(uint8)": "u1", "tensor(float)": "f4", "tensor(int32)": "i4", "tensor(float16)": "f2"}[
                    value.type
                ]
            )
            size = int(np.prod(value.shape)) * dtype.itemsize
            memory = (ctypes.c_uint8 * size).from_address(self.addresses[value.name])
            return np.frombuffer(memory, dtype).reshape(value.shape)

        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        results = self.session.run(None, {value.name: at(value) for value in inputs})
        for value, result in zip(outputs, results, strict=True):
            at(value)[...] = result


class FakeEngine:
    def __init__(self, session, runtime):
        self.session, self.runtime = session, runtime
        self.values = [*session.get_inputs(), *session.get_outputs()]
        self.num_io_tensors = len(self.values)

    def get_tensor_name(self, number):
        return self.values[number].name

    def get_tensor_shape(self, name):
        return next(value.shape for value in self.values if value.name == name)

    def create_execution_context(self):
        return FakeContext(self.session, self.runtime)


def fake_tensorrt(runtime, version="11.4.0.106", refuses=None):
    """A module with TensorRT's names whose plans are ONNX graphs. `refuses`: what fails, by logging, as there."""
    refuses = refuses or set()
    built = []

    class Parser:
        def __init__(self, network, logger):
            self.network, self.logger = network, logger
            self.num_errors = 0

        def parse(self, model):
            self.network["model"] = model
            if "parse" in refuses:
                self.num_errors = 1
                self.get_error = lambda number: SimpleNamespace(desc=lambda: "operator Magic\nis unknown")
            return "parse" not in refuses

        def parse_from_file(self, path):
            return self.parse(onnx.load(path).SerializeToString())

    class TimingCache:
        def __init__(self, data):
            self.data = data

        def serialize(self):
            return self.data + b"timed "

    class Config:
        def __init__(self):
            self.flags, self.cleared, self.profiles, self.cache = [], [], [], None

        def set_flag(self, flag):
            self.flags.append(flag)

        def clear_flag(self, flag):
            self.cleared.append(flag)

        def add_optimization_profile(self, profile):
            self.profiles.append(profile)
            return 0

        def create_timing_cache(self, data):
            return TimingCache(data)

        def set_timing_cache(self, kept, ignore_mismatch):
            self.cache = kept
            return True

    class Network(dict):
        num_inputs = 0

    class Builder:
        def __init__(self, logger):
            self.logger = logger

        def create_network(self, flags):
            return Network(flags=flags)

        def create_builder_config(self):
            return Config()

        def build_serialized_network(self, network, config):
            if "build" in refuses:
                self.logger.log(Logger.ERROR, "Error Code 10: no\n tactic")
                return None
            built.append((network, config))
            return b"PLAN" + network["model"]

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, plan):
            if "load" in refuses:
                self.logger.log(Logger.ERROR, "Error Code 1: Cuda Runtime (cudaError 35)")
                return None
            assert plan[:4] == b"PLAN"
            session = onnxruntime.InferenceSession(plan[4:], providers=["CPUExecutionProvider"])
            return FakeEngine(session, runtime)

    numbers = tuple(map(int, version.split(".")))
    flags = SimpleNamespace(EXPLICIT_BATCH=0) if numbers < (10,) else SimpleNamespace(STRONGLY_TYPED=1)
    builder_flags = {"TF32": "TF32"} | (
        {"FP16": "FP16", "OBEY_PRECISION_CONSTRAINTS": "OBEY"} if numbers < (10,) else {}
    )
    return SimpleNamespace(
        __version__=version,
        ILogger=type("ILogger", (Logger,), {"__init__": lambda self: None}),
        NetworkDefinitionCreationFlag=flags,
        BuilderFlag=SimpleNamespace(**builder_flags),
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        built=built,
    )
