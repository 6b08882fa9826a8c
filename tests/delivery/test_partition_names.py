"""No value of a key leads out of the output, or is read back as another one."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import arrowstream as ars
from arrowstream.connectors.files.history import History
from arrowstream.connectors.files.partition_names import NULL_NAME, escaped, folders_of

UP = [
    "..",
    "../",
    "../x",
    "../../etc/passwd",
    "..\\",
    "..\\x",
    ".",
    "./",
    "...",
    ". .",
    ".. /x",
    "..;/x",
    "....//",
]
ENCODED = [
    "%2e%2e",
    "%2e%2e%2f",
    "%252e%252e%252f",
    "..%2f",
    "%2e%2e/",
    "..%c0%af",
    "%c0%ae%c0%ae/",
    "%uff0e%uff0e",
]
ABSOLUTE = [
    "/",
    "//",
    "/etc/passwd",
    "///x",
    "C:\\x",
    "C:/x",
    "\\\\host\\share",
    "file:///etc",
    "s3://b/k",
    "~",
    "~/x",
]
CONTROLS = [chr(code) for code in range(32)] + ["\x7f", "a\0b", "\0/../x", "x\n../y", "\r\n", "\t", "\x1b[2J"]
SHELL = [
    "$HOME",
    "$(id)",
    "`id`",
    ";rm -rf /",
    "|",
    "&",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "'",
    '"',
    "#",
    "!",
    "<",
    ">",
]
EQUALS = ["=", "a=b", "=/..", "key=..", "a=b/c=d", "==", "%3D"]
UNICODE = [
    "é",
    "日本",
    "\u2025",
    "\u2024\u2024/",
    "\uff0e\uff0e\uff0f",
    "\u202e",
    "\ufeff",
    "\u2215",
    "\u29f8",
    "İ",
    "ß",
]
PLAIN = [
    "",
    " ",
    "  ",
    "a",
    "part-00000001",
    "part-00000001.parquet",
    ".hidden",
    "_under",
    "-",
    "--help",
    "0",
    "00",
]
LONG = ["x" * 200, "../" * 20, "%2f" * 20, "." * 200]
VALUES = [*UP, *ENCODED, *ABSOLUTE, *CONTROLS, *SHELL, *EQUALS, *UNICODE, *PLAIN, *LONG]


def test_there_are_enough_of_them():
    assert len(set(VALUES)) > 110


@pytest.mark.parametrize("kind", ["value", "column"])
def test_nothing_escapes(tmp_path, kind):
    """As values, all in one job; as the name of the column, one after the other."""
    root = tmp_path / "root"
    out = root / "a" / "b" / "out"
    if kind == "value":
        frame = pl.DataFrame({"key": VALUES, "row": range(len(VALUES))})
        ars.from_polars(frame).sink_parquet(pl.PartitionBy(out, key="key", include_key=False)).run(
            progress=False
        )
        back = pl.scan_parquet(out, hive_partitioning=True).sort("row").collect()
        assert back["key"].to_list() == VALUES
    else:
        for name in [value for value in VALUES if "\0" not in value]:  # Arrow has no such names
            stream = ars.from_polars(pl.DataFrame({name: [1], "row": [1]}))
            try:
                stream.sink_parquet(pl.PartitionBy(out, key=name)).run(progress=False, mode="overwrite")
            except ars.PlanError as error:
                assert name.startswith((".", "_")) or name in {"", "*"}, error  # noqa: PT017
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(folder) / name
            assert not path.is_symlink()
            inside = path.is_relative_to(out) or path.is_relative_to(out.with_name(".out.arrowstream"))
            assert inside or out.is_relative_to(path), path
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["root"]


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_name_is_one_part_of_a_path_and_says_the_value(value):
    name = escaped(value)
    assert "/" not in name
    assert "\\" not in name
    assert "\0" not in name
    assert unquote(name) == value


@settings(deadline=None)
@given(st.lists(st.none() | st.text(max_size=20).filter(lambda text: text != NULL_NAME), max_size=30))
def test_other_values_are_other_folders(values):
    folders = folders_of(pl.DataFrame({"key": values}, schema={"key": pl.String}))
    assert len(set(folders)) == len(set(values))
    assert all(folder.count("/") == 1 for folder in folders)


def test_a_link_in_the_output_is_not_followed(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    job = ars.from_polars(pl.DataFrame({"key": [1], "row": [1]})).sink_parquet(pl.PartitionBy(out, key="key"))
    (out / "key=1").symlink_to(elsewhere)
    with pytest.raises(ars.StateError, match="key=1"):
        job.run(progress=False)
    (out / "key=1").unlink()
    claim = History.claim

    def claim_and_link(history, job_id, mode):
        claim(history, job_id, mode)
        (out / "key=1").symlink_to(elsewhere)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "claim", claim_and_link)
        with pytest.raises(ars.ConnectorError, match="key=1 is a link: nothing is written through it"):
            job.run(checkpoint=tmp_path / "state", progress=False)
    assert list(elsewhere.iterdir()) == []
