"""The real Python bindings of TensorRT 10.16 and 11.4: do they have every name that is called, as it is called?

The bindings are a small wheel; the libraries beside them are gigabytes that don't install everywhere. Their nine
functions are stood in for by empty ones, which is enough to import the binding and to read its signatures.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

BINDINGS = {"10.16": ("tensorrt-cu12-bindings==10.16.1.11", "10"), "11.4": ("tensorrt-cu13-bindings==11.4.0.106", "11")}
FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry"),
    *("getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins"),
)
CALLED = {
    "Builder": {
        "create_network": "flags: ",
        "create_builder_config": "",
        "build_serialized_network": "config",
    },
    "OnnxParser": {"parse": "model", "parse_from_file": "model", "get_error": "index"},
    "IBuilderConfig": {
        "set_flag": "flag",
        "clear_flag": "flag",
        "create_timing_cache": "serialized_timing_cache",
        "set_timing_cache": "ignore_mismatch: ",
    },
    "ITimingCache": {"serialize": ""},
    "Runtime": {"deserialize_cuda_engine": "serialized_engine"},
    "ICudaEngine": {"get_tensor_name": "index: ", "get_tensor_shape": "name: ", "create_execution_context": ""},
    "IExecutionContext": {
        "set_tensor_address": "memory: ",
        "execute_async_v3": "stream_handle: ",
    },
}
"""Class: method: what its signature has to say."""
PROPERTIES = {"OnnxParser": ["num_errors"], "ICudaEngine": ["num_io_tensors"]}
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import importlib
binding = importlib.import_module("tensorrt_bindings.tensorrt")
found = {}
for name in json.loads(sys.argv[2]):
    one = getattr(binding, name)
    found[name] = {part: getattr(one, part).__doc__ or "" for part in dir(one) if not part.startswith("_")}
flags = lambda kind: [name for name in dir(kind) if name.isupper()]
found["network flags"] = flags(binding.NetworkDefinitionCreationFlag)
found["builder flags"] = flags(binding.BuilderFlag)
found["severities"] = flags(binding.ILogger)
class Logger(binding.ILogger):
    def __init__(self):
        binding.ILogger.__init__(self)

    def log(self, severity, message):
        pass

def of_nothing(kind):
    try:
        return str(getattr(binding, kind)(Logger()))
    except Exception as error:
        return type(error).__name__

found["of nothing"] = {kind: of_nothing(kind) for kind in ("Builder", "Runtime")}
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=list(BINDINGS))
def binding(request, tmp_path_factory):
    """Version, and the documentation of every class that is used."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("standing in for TensorRT's libraries takes Linux and a C compiler")
    wheel, major = BINDINGS[request.param]
    place = tmp_path_factory.mktemp("binding")
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-input", "-d", str(place), wheel]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"pip can't download {wheel} here")
    with zipfile.ZipFile(next(place.glob("*.whl"))) as archive:
        archive.extractall(place)
    # Imported as the package's own __init__ does, without its search for libraries.
    (place / "tensorrt_bindings" / "__init__.py").write_text("")
    source = place / "empty.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in FUNCTIONS))
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        name = f"lib{library}.so.{major}"
        subprocess.run([compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", place / name, source], check=True)
    names = json.dumps(sorted({*CALLED, *PROPERTIES}))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(place)}
    words = [sys.executable, "-c", ASK, str(place), names]
    asked = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert asked.returncode == 0, asked.stderr
    return request.param, json.loads(asked.stdout)


@pytest.mark.slow
def test_every_method_is_there_with_the_arguments_it_is_given(binding):
    _, found = binding
    for name, methods in CALLED.items():
        for method, arguments in methods.items():
            assert method in found[name], f"{name}.{method}"
            assert arguments in found[name][method], found[name][method]


@pytest.mark.slow
def test_library_that_gives_nothing_is_a_type_error(binding):
    _, found = binding
    assert found["of nothing"] == {"Builder": "TypeError", "Runtime": "TypeError"}  # what Library.make expects


@pytest.mark.slow
def test_every_property_is_there(binding):
    _, found = binding
    for name, properties in PROPERTIES.items():
        assert set(properties) <= set(found[name])


@pytest.mark.slow
def test_flags_are_what_each_version_is_taken_to_have(binding):
    version, found = binding
    assert "STRONGLY_TYPED" in found["network flags"]
    assert ("EXPLICIT_BATCH" in found["network flags"]) == (version == "10.16")
    assert "TF32" in found["builder flags"]
    assert ("FP16" in found["builder flags"]) == (version == "10.16")
    assert {"ERROR", "INTERNAL_ERROR"} <= set(found["severities"])
