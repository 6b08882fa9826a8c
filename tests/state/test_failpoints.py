from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from arrowstream import failpoints
from arrowstream.errors import InternalError


def test_off_is_free_and_silent():
    failpoints.hit("no such name")  # nothing is looked at


def test_an_unknown_name_is_a_bug():
    with failpoints.armed(), pytest.raises(InternalError, match=r"there is no failpoint 'plan.befor'"):
        failpoints.hit("plan.befor")
    with pytest.raises(InternalError, match=r"there is no failpoint 'plan.befor'"):
        failpoints.arm("plan.befor=kill")
    with pytest.raises(InternalError, match="a failpoint cannot 'explode'"):
        failpoints.arm("plan.before=explode")


def test_the_third_hit_and_everything_after_it_crashes():
    with failpoints.armed("plan.before=raise@3") as reached:
        failpoints.hit("plan.before")
        failpoints.hit("plan.before")
        failpoints.hit("plan.after")
        with pytest.raises(failpoints.Crash, match=r"plan.before"):
            failpoints.hit("plan.before")
        with pytest.raises(failpoints.Crash, match=r"done.before"):
            failpoints.hit("done.before")
    failpoints.hit("plan.before")
    assert reached[:3] == ["plan.before", "plan.before", "plan.after"]


def test_there_are_enough_of_them():
    assert len(failpoints.NAMES) == len(set(failpoints.NAMES)) >= 30


@pytest.mark.parametrize(
    ("action", "expected"), [("kill", -signal.SIGKILL), ("stop", signal.SIGSTOP), ("raise", 1)]
)
def test_the_environment_arms_a_process(action, expected):
    code = "from arrowstream import failpoints; failpoints.hit('plan.before'); failpoints.hit('plan.before')"
    environment = {**os.environ, failpoints.ENVIRONMENT: f"plan.before={action}@2, done.after=kill"}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        if action == "stop":
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WSTOPSIG(status) == expected
            process.kill()
        else:
            assert process.wait(60) == expected
