from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from arrowstream.errors import PlanError
from arrowstream.runtime.options import QUEUE_BYTES_DEFAULT, available_cores, run_options, seconds


def options(**given):
    return run_options(environment={}, **given)


def test_defaults():
    found = options()
    assert found.batch_rows is None
    assert found.threads == available_cores()
    assert found.queue_bytes == QUEUE_BYTES_DEFAULT
    assert (found.epoch_rows, found.epoch_s) == (None, 5.0)
    assert found.checkpoint is None
    assert found.mode == "error"
    assert found.listener is None


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ("512MB", 512 * 10**6),
        ("2GiB", 2 * 2**30),
        ("1.5 GB", 1_500_000_000),
        (2**20, 2**20),
        ("4194304", 2**22),
    ],
)
def test_memory_limit_is_bytes_or_a_size(given, size):
    assert options(memory_limit=given).queue_bytes == size


@pytest.mark.parametrize(
    ("given", "rows", "length_s"),
    [
        (1_000_000, 1_000_000, None),
        ("5s", None, 5.0),
        ("1m500ms", None, 60.5),
        (timedelta(seconds=2), None, 2.0),
        ("1000", 1000, None),
    ],
)
def test_epochs_are_counted_in_rows_or_in_time(given, rows, length_s):
    found = options(checkpoint_every=given)
    assert (found.epoch_rows, found.epoch_s) == (rows, length_s)


def test_environment_replaces_defaults_only():
    environment = {
        "ARROWSTREAM_BATCH_ROWS": "7",
        "ARROWSTREAM_THREADS": "2",
        "ARROWSTREAM_MEMORY_LIMIT": "64MiB",
        "ARROWSTREAM_CHECKPOINT": "state",
        "ARROWSTREAM_CHECKPOINT_EVERY": "1_000",
        "ARROWSTREAM_MODE": "overwrite",
        "ARROWSTREAM_PROGRESS": "false",
    }
    found = run_options(environment=environment, threads=1)
    assert found.batch_rows == 7
    assert found.threads == 1
    assert found.queue_bytes == 64 * 2**20
    assert found.checkpoint == Path("state")
    assert found.epoch_rows == 1000
    assert found.mode == "overwrite"
    assert found.progress is False


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"batch_rows": 0}, "batch_rows=0 is neither 'auto' nor a number of rows"),
        ({"batch_rows": True}, "batch_rows=True is neither"),
        ({"threads": 0}, "threads=0 is not a number of threads between 1 and 1024"),
        ({"memory_limit": "much"}, "memory_limit='much' is not a size\n  hint: give bytes, or a text"),
        ({"memory_limit": 10}, "memory_limit=10 is less than the smallest possible, 1,048,576 bytes"),
        ({"progress": "often"}, "progress='often' is not one of its choices\n  choices: 'auto', True, False"),
        ({"runner": "ray"}, "runner='ray' is not available yet\n  hint: runner='local' uses all cores"),
        ({"runner": "lokal"}, "choices: 'local', 'ray'\n  hint: did you mean 'local'?"),
        ({"mode": "append"}, "mode='append' is not one of its choices\n  choices: 'error', 'overwrite'"),
        ({"checkpoint": "s3://bucket/x"}, "is a URL, and checkpoints are kept in local folders only"),
        ({"checkpoint": ""}, "checkpoint='' is not a folder"),
        (
            {"checkpoint": __file__},
            f"checkpoint={__file__!r} is a file, not a folder\n  hint: give a folder, such as",
        ),
        ({"checkpoint_every": 0}, "checkpoint_every=0 is neither a duration nor a number of rows"),
        ({"checkpoint_every": "1mo"}, "checkpoint_every='1mo' is neither a duration nor a number of rows"),
        ({"checkpoint_every": "0s"}, "checkpoint_every='0s' is neither"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, text):
    with pytest.raises(PlanError) as caught:
        options(**given)
    assert text in str(caught.value)


def test_timeouts():
    assert seconds("timeout", None) is None
    assert seconds("timeout", "1m") == 60
    assert seconds("timeout", 0.5) == 0.5
    with pytest.raises(PlanError, match="timeout='soon' is not a length of time"):
        seconds("timeout", "soon")
