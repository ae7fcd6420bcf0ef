"""The same video, bundle, backend and threads give the same bytes of results, run after run."""

import os
import subprocess
import sys

import pytest

MAIN = "from trk.cli.run import main; main()"


@pytest.mark.parametrize("threads", [1, 2])
def test_results_of_two_processes_are_the_same_bytes(clip, tmp_path, threads):
    outputs = []
    for number in (1, 2):
        files = [tmp_path / f"{number}.{suffix}" for suffix in ("csv", "jsonl")]
        words = [str(clip.video), f"--init={clip.init}", f"--threads={threads}", "--on-lost=search", "--quiet"]
        words += [f"--boxes={file}" for file in files]
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *words],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
        )
        assert done.returncode == 0, done.stderr
        outputs.append([file.read_bytes() for file in files])
    assert outputs[0] == outputs[1]
    assert outputs[0][0].count(b"\n") == len(clip.frames) + 1
