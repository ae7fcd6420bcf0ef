"""Packaging of trk: the repository root is the package `trk`, its rooms are its sub-packages."""

import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "__init__.py").read_text(), re.M).group(1)
ROOMS = [
    "engine",
    "engine.backends",
    "engine.backends.device",
    "engine.cuda",
    "engine.onnx_to_torch",
    "engine.plans",
    "export",
    "models",
    "models.rows",
    "weights",
    "bench",
    "bench.datasets",
    "video",
    "web",
    "train",
    "cli",
]

# One CPU runtime or one GPU runtime: the two wheels install the same import package and break each other.
ORT = "onnxruntime>=1.20"
TORCH = ["torch==2.13.0", "onnx>=1.18", "onnxscript>=0.5", "safetensors>=0.5"]

EXTRAS = {
    "cpu": [ORT],
    "gpu": ["onnxruntime-gpu>=1.20", "cuda-python[all]>=12.6"],
    "tensorrt": ["tensorrt>=10.0", "cuda-python[all]>=12.6"],
    "rtx": ["tensorrt-rtx-cu13>=1.7", "cuda-python[all]>=12.6"],
    "openvino": ["openvino>=2024.6"],
    "export": TORCH,
    "train": TORCH,
    "eval": ["matplotlib>=3.8", "optuna>=4"],
    "web": ["fastapi>=0.115", "uvicorn>=0.34", "websockets>=15"],
    "trax": ["vot-trax>=4.0"],
    "ray": ["ray>=2.40"],
    "docs": ["mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.26"],
}
EXTRAS["dev"] = [
    *EXTRAS["cpu"],
    *EXTRAS["export"],
    *EXTRAS["web"],
    "httpx>=0.27",
    "selenium>=4.25",
    "pytest>=8",
    "hypothesis>=6.100",
    "ruff>=0.14",
    "mypy>=1.18",
    "import-linter>=2.5",
    *EXTRAS["docs"],
    *EXTRAS["eval"],
    *EXTRAS["trax"],
    # Compile the GPU's kernels, and check every call of CUDA, without a GPU.
    "cuda-bindings>=13; sys_platform == 'linux'",
    "nvidia-cuda-nvrtc>=13; sys_platform == 'linux'",
    "got10k==0.1.3",
    "six",
    "pre-commit>=4",
    "pip-audit>=2.9",
]

setup(
    name="trk-engine",
    version=VERSION,
    description="Siamese visual object tracking, exported to ONNX and run in real time",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["trk", *(f"trk.{room}" for room in ROOMS)],
    package_dir={"trk": "."},
    package_data={
        "trk": ["py.typed"],
        "trk.engine.cuda": ["*.cu"],
        "trk.web": ["page.*"],
        "trk.weights": ["*.trk", "*.safetensors", "*.jpg", "*.md", "samples/*/*"],
    },
    install_requires=[
        "numpy>=1.26",
        "opencv-python-headless>=4.9",
        "click>=8.1",
        "rich>=13",
        "pydantic>=2.7",
        "av>=14",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "trk-run = trk.cli.run:main",
            "trk-export = trk.cli.export:main",
            "trk-bench = trk.cli.bench:main",
            "trk-train = trk.cli.train:main",
            "trk-eval = trk.cli.eval:main",
            "trk-trax = trk.cli.trax:main",
            "trk-tune = trk.cli.tune:main",
            "trk-calibrate = trk.cli.calibrate:main",
        ]
    },
)
