# ruff: noqa: N802, N815
"""What stands for CUDA and TensorRT where there is no GPU: host memory, and ONNX Runtime as the engine."""

import ctypes
from collections import Counter
from enum import IntEnum
from functools import lru_cache
from threading import get_ident
from types import SimpleNamespace

import host_kernels
import numpy as np
import onnx
import onnxruntime
import pytest

from trk.engine.backends.device.tensorrt import TensorRTBackend
from trk.engine.bundle import Bundle
from trk.engine.cuda.calls import Bindings, Cuda
from trk.engine.plans.library import Library


class Code(IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorNotReady = 600
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorUnknown = 999


FORBIDDEN = ("cudaMalloc", "cudaFree", "cudaHostAlloc", "cudaFreeHost", "cudaStreamSynchronize", "cudaEventSynchronize")
"""What may not be called while a stream is captured: by the thread that captures, or by none in the global mode."""
GLOBAL, THREAD_LOCAL = 0, 1


class FakeRuntime:
    """`cuda.bindings.runtime` on host memory. What is put into a stream runs when something waits for it, in order.

    `fails`: call to name of the error that it returns. `calls`: what was asked for, in order, with the stream; `made`:
    how often each function was called.
    """

    cudaError_t = Code
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaGraph_t = staticmethod(lambda number: number)
    cudaStreamCaptureMode = SimpleNamespace(
        cudaStreamCaptureModeGlobal=GLOBAL, cudaStreamCaptureModeThreadLocal=THREAD_LOCAL
    )

    def __init__(self, fails=None):
        self.fails = fails or {}
        self.memory = {}
        self.queues = {}
        self.recording = None
        self.recorded_stream = None
        self.capturing = None
        self.calls = []
        self.made = Counter()
        self.events = {}
        self.past = set()
        self.launched = 0
        self.waited = 0
        self.streams = 0
        self.dropped = []
        self.instantiated = 0
        self.ended = []
        self.graphs = {}
        """Graphs that others captured, by number."""

    @property
    def cuda(self):
        """A `Cuda` on this."""
        return Cuda(self.bindings)

    @property
    def bindings(self):
        """All modules of cuda.bindings."""
        nvrtc = SimpleNamespace(
            nvrtcCreateProgram=self._create_program,
            nvrtcCompileProgram=lambda *_: self._done("nvrtcCompileProgram"),
            nvrtcGetCUBINSize=lambda *_: self._done("nvrtcGetCUBINSize", 5),
            nvrtcGetCUBIN=lambda *_: self._done("nvrtcGetCUBIN"),
        )
        driver = SimpleNamespace(
            CUstream=int,
            cuModuleLoadData=lambda code: self._done("cuModuleLoadData", self.source),
            cuModuleGetFunction=lambda source, name: self._done(
                "cuModuleGetFunction", host_kernels.Function(name.decode(), source)
            ),
            cuLaunchKernel=self._launch_kernel,
        )
        return Bindings(self, driver, nvrtc)

    def _create_program(self, source, *_):
        self.source = source  # of what is loaded next
        return self._done("nvrtcCreateProgram", "program")

    def _launch_kernel(self, name, x, y, z, block, _y, _z, shared, stream, packed, extra):
        self.calls.append((name, stream))
        values, types = packed
        assert all(v == 0 or self._holds(v) for v, t in zip(values, types, strict=True) if t is ctypes.c_void_p)
        self.put(lambda: name.launch((x, y), block, values, types), stream)
        return self._done("cuLaunchKernel")

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
        self.made[name] += 1
        if name in self.fails:
            return (Code[self.fails[name]], *(None for _ in values))
        if self.recording is not None and name in FORBIDDEN and self.capturing in (GLOBAL, (THREAD_LOCAL, get_ident())):
            self.recording = None  # a real one breaks the capture
            return (Code.cudaErrorStreamCaptureUnsupported, *(None for _ in values))
        return (Code.cudaSuccess, *values)

    def _allocate(self, name, size):
        code, _ = self._done(name, None)
        if code != Code.cudaSuccess:
            return code, None
        array = np.full(size, 170, np.uint8)
        self.memory[array.ctypes.data] = array
        return code, array.ctypes.data

    def _free(self, name, address):
        (code,) = self._done(name)
        if code == Code.cudaSuccess:
            del self.memory[address]
        return (code,)

    def _holds(self, address):
        return any(first <= address < first + array.size for first, array in self.memory.items())

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
        return self._allocate("cudaMalloc", size)

    def cudaHostAlloc(self, size, flags):
        return self._allocate("cudaHostAlloc", size)

    def cudaFree(self, address):
        return self._free("cudaFree", address)

    def cudaFreeHost(self, address):
        return self._free("cudaFreeHost", address)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        if "cudaMemcpyAsync" not in self.fails:
            self.calls.append((("up", "down", "beside")[kind - 1], stream))
            self.put(lambda: ctypes.memmove(target, source, size), stream)
        return self._done("cudaMemcpyAsync")

    def cudaStreamQuery(self, stream):
        return self._done("cudaStreamQuery") if not self.queues.get(stream) else (Code.cudaErrorNotReady,)

    def cudaStreamSynchronize(self, stream):
        for one in list(self.queues) if stream is None else [stream]:
            self.run(one)
        self.calls.append(("wait", stream))
        self.waited += 1
        return self._done("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream, mode):
        self.recording, self.recorded_stream = [], stream
        self.capturing = mode if mode == GLOBAL else (mode, get_ident())
        return self._done("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream):
        graph, self.recording = self.recording, None
        if graph is None:
            return Code.cudaErrorStreamCaptureUnsupported, None
        return self._done("cudaStreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph, flags):
        self.instantiated += 1
        graph = self.graphs.get(graph, graph) if isinstance(graph, int) else graph
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
        self.addresses = {}
        self.refuses = set()

    def is_stream_capturable(self, stream):
        return "capture" not in self.refuses

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return "address" not in self.refuses

    def execute_async_v3(self, stream):
        assert 77 <= stream <= 76 + self.runtime.streams
        if "run" in self.refuses:
            return False
        addresses = dict(self.addresses)  # a captured graph keeps those it saw
        self.runtime.put(lambda: self._run(addresses), stream)
        return True

    def _run(self, addresses):
        def at(value):
            dtype = np.dtype(
                {"tensor(uint8)": "u1", "tensor(float)": "f4", "tensor(int32)": "i4", "tensor(float16)": "f2"}[
                    value.type
                ]
            )
            size = int(np.prod(value.shape)) * dtype.itemsize
            memory = (ctypes.c_uint8 * size).from_address(addresses[value.name])
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
        shape = next(value.shape for value in self.values if value.name == name)
        return list(shape)

    def create_execution_context(self):
        if "context" in self.refuses:
            return None
        context = FakeContext(self.session, self.runtime)
        context.refuses = self.refuses
        return context


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
            return None if "timings" in refuses else self.data + b"timed "

    class Config:
        def __init__(self):
            self.flags, self.cleared, self.cache = [], [], None
            self.targets = []

        def set_flag(self, flag):
            self.flags.append(flag)

        def clear_flag(self, flag):
            self.cleared.append(flag)

        def create_timing_cache(self, data):
            return TimingCache(data)

        def set_timing_cache(self, kept, ignore_mismatch):
            self.cache = kept
            return True

        def set_compute_capability(self, target, number):
            assert number == len(self.targets) < self.num_compute_capabilities
            self.targets.append(target)
            return True

    class Builder:
        def __init__(self, logger):
            refuse("builder", logger)
            self.logger = logger

        def create_network(self, flags):
            return None if "network" in refuses else {"flags": flags}

        def create_builder_config(self):
            return None if "config" in refuses else Config()

        def build_serialized_network(self, network, config):
            if "build" in refuses:
                self.logger.log(Logger.ERROR, "Error Code 10: no\n tactic")
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
        ComputeCapability=SimpleNamespace(**{name: name for name in ("SM75", "SM86", "SM120", "CURRENT")}),
        Builder=Builder,
        OnnxParser=Parser,
        Runtime=Runtime,
        built=built,
    )


def tensorrt(bundle, runtime, *, version="11.4.0.106", flavour="tensorrt", say=lambda line: None, refuses=None):
    """The backend TensorRT on the stand-ins. Its `library.module.built` are the plans that had to be built."""
    library = Library(flavour, fake_tensorrt(runtime, version, refuses=refuses))
    backend = TensorRTBackend(Bundle(bundle), library, runtime.cuda, say=say)
    backend.library = library
    return backend


class OnGpu:
    """A frame on the stand-in's GPU: what PyTorch, CuPy and PyCUDA have in common. `gap`: bytes between its rows."""

    def __init__(self, runtime, frame, gap=0, **changes):
        height = len(frame)
        stride = frame[:1].nbytes + gap
        _, self.address = runtime.cudaMalloc(max(height * stride, 1))
        for row in range(height):
            ctypes.memmove(self.address + row * stride, np.ascontiguousarray(frame[row]).ctypes.data, stride - gap)
        described = {"shape": frame.shape, "typestr": "|u1", "data": (self.address, False), "version": 3}
        strides = (stride, 3, 1) if gap else None
        self.__cuda_array_interface__ = {**described, "strides": strides, "stream": None, **changes}
        self.stream = changes.get("stream")


class ByDlpack:
    """The same in DLPack, as PyNvVideoCodec has it."""

    def __init__(self, runtime, frame, kind=2, device=0, strides=None, code=1, bits=8):
        self.held = OnGpu(runtime, frame)
        self.address, self.stream = self.held.address, 1
        self.kind, self.device, self.asked = kind, device, []
        shape = (ctypes.c_int64 * frame.ndim)(*frame.shape)
        steps = (ctypes.c_int64 * frame.ndim)(*strides) if strides else None
        head = np.zeros(48, np.uint8)
        head[:8].view(np.uint64)[0] = self.address
        head[8:20].view(np.int32)[:] = kind, device, frame.ndim
        head[20:22] = code, bits
        head[22:24].view(np.uint16)[0] = 1
        head[24:32].view(np.uint64)[0] = ctypes.addressof(shape)
        head[32:40].view(np.uint64)[0] = ctypes.addressof(steps) if steps is not None else 0
        self.parts = (shape, steps, head)

    def __dlpack_device__(self):
        return self.kind, self.device

    def __dlpack__(self, stream=None):
        self.asked.append(stream)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        return new(self.parts[2].ctypes.data, b"dltensor", None)


def compiling(capability):
    """A `Cuda` whose kernels the real NVRTC compiles for a GPU, and what it is told to load: code, then names."""
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed (trk-engine[gpu])")
    try:
        nvrtc.nvrtcVersion()
    except (RuntimeError, OSError):
        pytest.skip("NVRTC is not installed (pip install nvidia-cuda-nvrtc)")
    loaded = []

    def load(code):
        loaded.append(code)
        return 0, "module"

    driver = SimpleNamespace(
        cuModuleLoadData=load, cuModuleGetFunction=lambda module, name: (loaded.append(name), (0, len(loaded)))[1]
    )
    cuda = FakeRuntime().cuda
    cuda.bindings, cuda.capability = Bindings(cuda.bindings.runtime, driver, nvrtc), capability
    return cuda, loaded
