# ruff: noqa: N802, N815
"""What stands for CUDA and TensorRT where there is no GPU: host memory, and ONNX Runtime as the engine."""

import ctypes
from enum import Enum
from functools import lru_cache
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
    """`cuda.bindings.runtime` on host memory. What is put into a stream runs when something waits for it, in order.

    `fails`: call to name of the error that it returns. `calls`: what was asked for, in order, with the stream.
    """

    cudaError_t = Code
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self, fails=None):
        self.fails = fails or {}
        self.memory = {}
        self.queues = {}
        self.recording = None
        self.recorded_stream = None
        self.calls = []
        self.events = {}
        self.past = set()
        self.launched = 0
        self.waited = 0
        self.streams = 0
        self.dropped = []
        self.instantiated = 0
        self.ended = []
        self.configs = []

    def put(self, work, stream=None):
        """Put `work` into a stream (None: the first), or into the graph that is being captured from it."""
        if self.recording is not None and stream in (None, self.recorded_stream):
            self.recording.append(work)
        else:
            self.queues.setdefault(77 if stream is None else stream, []).append(work)

    def run(self, stream, until=None):
        """Run what is in a stream, up to a moment of an event where one is given."""
        queue = self.queues.get(stream, [])
        while queue and until not in self.past:
            queue.pop(0)()

    def _reach(self, moment):
        for stream in list(self.queues):
            if moment not in self.past and any(getattr(work, "moment", None) == moment for work in self.queues[stream]):
                self.run(stream, moment)

    def cudaEventCreateWithFlags(self, flags):
        event = f"event {len(self.events)}"
        self.events[event] = None
        return self._done("cudaEventCreateWithFlags", event)

    def cudaEventDestroy(self, event):
        del self.events[event]
        return self._done("cudaEventDestroy")

    def cudaEventRecord(self, event, stream):
        moment = self.events[event] = object()

        def passed():
            self.past.add(moment)

        passed.moment = moment
        self.calls.append(("record", stream))
        self.put(passed, stream)
        return self._done("cudaEventRecord")

    def cudaStreamWaitEvent(self, stream, event, flags):
        moment = self.events[event]
        self.calls.append(("wait for event", stream))
        if moment is not None:
            self.put(lambda: self._reach(moment), stream)
        return self._done("cudaStreamWaitEvent")

    def cudaEventSynchronize(self, event):
        if self.events[event] is not None:
            self._reach(self.events[event])
        return self._done("cudaEventSynchronize")

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

    def cudaStreamDestroy(self, stream):
        self.ended.append(stream)
        return self._done("cudaStreamDestroy")

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
        if "cudaMemcpyAsync" not in self.fails:
            self.calls.append((("up", "down", "beside")[kind - 1], stream))
            self.put(lambda: ctypes.memmove(target, source, size), stream)
        return self._done("cudaMemcpyAsync")

    def cudaStreamSynchronize(self, stream):
        for one in list(self.queues) if stream is None else [stream]:
            self.run(one)
        self.calls.append(("wait", stream))
        self.waited += 1
        return self._done("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream, mode):
        self.recording, self.recorded_stream = [], stream
        return self._done("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream):
        graph, self.recording = self.recording, None
        return self._done("cudaStreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph, flags):
        self.instantiated += 1
        return self._done("cudaGraphInstantiate", tuple(graph))

    def cudaGraphDestroy(self, graph):
        graph.clear()  # what was instantiated is another thing
        return self._done("cudaGraphDestroy")

    def cudaGraphLaunch(self, graph, stream):
        self.launched += 1
        self.calls.append(("launch", stream))
        assert graph not in self.dropped
        for work in graph:
            self.put(work, stream)
        return self._done("cudaGraphLaunch")

    def cudaGraphExecDestroy(self, graph):
        self.dropped.append(graph)
        return self._done("cudaGraphExecDestroy")


class Logger:
    ERROR, INTERNAL_ERROR, WARNING = "error", "internal error", "warning"


class FakeContext:
    """Runs the graph in ONNX Runtime on what lies at the addresses."""

    def __init__(self, session, runtime):
        self.session, self.runtime = session, runtime
        self.addresses, self.shapes = {}, {}
        self.refuses = set()

    def set_input_shape(self, name, shape):
        if "shape" in self.refuses:
            return False
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return "address" not in self.refuses

    def execute_async_v3(self, stream):
        assert 77 <= stream <= 76 + self.runtime.streams
        if "run" in self.refuses:
            return False
        addresses, shapes = dict(self.addresses), dict(self.shapes)  # a captured graph keeps those it saw
        self.runtime.put(lambda: self._run(addresses, shapes), stream)
        return True

    def _run(self, addresses, shapes):
        def at(value):
            dtype = np.dtype(
                {"tensor(uint8)": "u1", "tensor(float)": "f4", "tensor(int32)": "i4", "tensor(float16)": "f2"}[
                    value.type
                ]
            )
            shape = shapes.get(value.name, value.shape)
            size = int(np.prod(shape)) * dtype.itemsize
            memory = (ctypes.c_uint8 * size).from_address(addresses[value.name])
            return np.frombuffer(memory, dtype).reshape(shape)

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
        shape = next(value.shape for value in self.values if value.name == name)
        return [side if isinstance(side, int) else -1 for side in shape]

    def create_runtime_config(self):
        return SimpleNamespace()

    def create_execution_context(self, config=None):
        if "context" in self.refuses:
            return None
        context = FakeContext(self.session, self.runtime)
        self.runtime.configs.append(config)
        context.refuses = self.refuses
        return context


def inputs_of(model):
    """The inputs of a serialised graph as TensorRT describes them: -1 where a side is open."""
    values = onnx.load_from_string(model).graph.input if model else ()
    return [
        SimpleNamespace(name=value.name, shape=tuple(dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim))
        for value in values
    ]


@lru_cache(maxsize=16)
def _session(model):
    """A loaded graph: the same for every engine, since it keeps nothing from one run to the next."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def fake_tensorrt(runtime, version="11.4.0.106", refuses=None):
    """A module with TensorRT's names whose plans are ONNX graphs. `refuses`: what fails, by logging, as there."""
    refuses = set() if refuses is None else refuses
    built = []

    def refuse(what, logger):
        """As the bindings do where the library gives them nothing."""
        if what in refuses:
            logger.log(Logger.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    class Parser:
        def __init__(self, network, logger):
            self.network, self.logger = network, logger
            self.num_errors = 0

        def parse(self, model):
            self.network["model"] = model
            self.network.inputs = inputs_of(model)
            self.network.num_inputs = len(self.network.inputs)
            if "parse" in refuses:
                self.num_errors = 1
                self.get_error = lambda number: SimpleNamespace(desc=lambda: "operator Magic\nis unknown")
            return "parse" not in refuses

        def parse_from_file(self, path):
            return self.parse(onnx.load(path).SerializeToString())

    class Profile:
        def __init__(self):
            self.shapes = {}

        def set_shape(self, name, smallest, usual, largest):
            self.shapes[name] = (smallest, usual, largest)

    class TimingCache:
        def __init__(self, data):
            self.data = data

        def serialize(self):
            return None if "timings" in refuses else self.data + b"timed "

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

        def get_input(self, number):
            return self.inputs[number]

    class Builder:
        def __init__(self, logger):
            refuse("builder", logger)
            self.logger = logger

        def create_network(self, flags):
            return None if "network" in refuses else Network(flags=flags)

        def create_builder_config(self):
            return None if "config" in refuses else Config()

        def create_optimization_profile(self):
            return None if "profile" in refuses else Profile()

        def build_serialized_network(self, network, config):
            if "build" in refuses:
                self.logger.log(Logger.ERROR, "Error Code 10: no\n tactic")
                return None
            if any(-1 in value.shape for value in getattr(network, "inputs", ())) and not config.profiles:
                self.logger.log(Logger.ERROR, "Error Code 4: dynamic inputs and no optimization profile")
                return None
            built.append((network, config))
            return b"PLAN" + network["model"]

    class Runtime:
        def __init__(self, logger):
            refuse("runtime", logger)
            self.logger = logger

        def deserialize_cuda_engine(self, plan):
            if "load" in refuses:
                self.logger.log(Logger.ERROR, "Error Code 1: Cuda Runtime (cudaError 35)")
                return None
            assert plan[:4] == b"PLAN"
            engine = FakeEngine(_session(plan[4:]), runtime)
            engine.refuses = refuses
            return engine

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
