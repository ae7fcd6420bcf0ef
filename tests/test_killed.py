"""Whatever ends a writer, at whichever step: the old file or the new one is there, never a broken one."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from killed import ERRORS, WRITERS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="every try is a process that is forked")


@pytest.fixture(scope="module")
def told(tiny_bundle, long_bundle, tmp_path_factory):
    """What became of every try."""
    place = tmp_path_factory.mktemp("killed") / "place"
    words = [sys.executable, Path(__file__).with_name("killed.py"), place, tiny_bundle, long_bundle]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def whole(one):
    """What may be there after a try: never anything broken."""
    if one["ended"] == "written":
        return {"new"}
    if one["before"]:
        return {"old", "new"}
    return {"nothing", "new", *({"old"} if one["writer"] == "plan" else {})}  # a plan that is not whole is not used


@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_that_is_killed_at_any_step_leaves_the_old_file_or_the_new(writer, told):
    tries = [one for one in told if one["writer"] == writer and one["how"] == "kill"]
    ends = Counter(one["ended"] for one in tries)
    assert ends.pop("written") == 2  # the last of each row of tries had no step left to be killed at
    assert set(ends) == {"killed"}
    assert ends["killed"] >= 4
    for one in tries:
        assert one["there"] in whole(one), one
        assert one["again"] == "", one
        assert all(name.startswith(".") or name.endswith(".part") for name in one["left"]), one


@pytest.mark.parametrize("how", ERRORS)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_refuses_any_step_is_told_in_a_line_and_nothing_is_left(writer, how, told):
    tries = [one for one in told if one["writer"] == writer and one["how"] == how]
    assert Counter(one["ended"] for one in tries)["refused"] >= 2
    for one in tries:
        assert one["ended"] in ("refused", "written"), one
        assert one["there"] in whole(one), one
        assert one["again"] == "", one
        if writer not in (
            "boxes",
            "video",
        ):  # where the name can't be given, what was found stays under another: the error names it
            assert one["left"] == [], one
