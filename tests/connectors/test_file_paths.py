from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrowstream.connectors.files.paths import find_files, natural_key, partition_names
from arrowstream.errors import PlanError

SUFFIXES = (".parquet",)


@pytest.fixture
def tree(tmp_path):
    names = ["10.parquet", "2.parquet", "1/b.parquet", "sub/deep/3.PARQUET", "notes.txt"]
    names += [".hidden.parquet", "_temporary/x.parquet"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(root: Path, found: list[str]) -> list[str]:
    return [Path(file).relative_to(root).as_posix() for file in found]


def test_a_directory_is_searched_recursively_in_natural_order(tree):
    found = find_files(tree, SUFFIXES)
    assert names(tree, found) == ["1/b.parquet", "2.parquet", "10.parquet", "sub/deep/3.PARQUET"]


def test_a_glob_gives_what_it_says(tree):
    assert names(tree, find_files(f"{tree}/*.parquet", SUFFIXES)) == ["2.parquet", "10.parquet"]
    assert names(tree, find_files(f"{tree}/*.txt", SUFFIXES)) == ["notes.txt"]
    assert names(tree, find_files(f"{tree}/s*", SUFFIXES)) == ["sub/deep/3.PARQUET"]
    assert names(tree, find_files(f"{tree}/**/*.parquet", SUFFIXES))[:1] == ["1/b.parquet"]
    assert names(tree, find_files(f"{tree}/[12].parquet", SUFFIXES)) == ["2.parquet"]


def test_a_list_is_sorted_as_a_whole(tree):
    found = find_files([tree / "10.parquet", tree / "2.parquet", tree / "1"], SUFFIXES)
    assert names(tree, found) == ["1/b.parquet", "2.parquet", "10.parquet"]


def test_a_name_with_glob_characters_is_a_file_if_there_is_one(tree):
    (tree / "a[1].parquet").touch()
    assert names(tree, find_files(f"{tree}/a[1].parquet", SUFFIXES)) == ["a[1].parquet"]


def test_relative_paths_home_and_file_urls(tree, monkeypatch):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("HOME", str(tree))
    for path in ("2.parquet", "./1/../2.parquet", "~/2.parquet", f"file://{tree}/2.parquet"):
        assert find_files(path, SUFFIXES) == [str(tree / "2.parquet")]


def test_a_link_sorts_by_its_own_name(tree):
    (tree / "3.parquet").symlink_to(tree / "sub/deep/3.PARQUET")
    assert names(tree, find_files(f"{tree}/*.parquet", SUFFIXES)) == ["2.parquet", "3.parquet", "10.parquet"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none*.parquet", "no file matches none*.parquet"),
        ("none.parquet", "no file matches none.parquet"),
        ("empty", "no .parquet files below empty"),
        ([], "no paths were given"),
        (["2.parquet", "*.parquet"], "2.parquet is named twice, its rows would be read twice"),
        ("s3://bucket/x.parquet", "s3://bucket/x.parquet is a URL, not a local path"),
        (3, "a path is a str or a Path, or a list of them, not int"),
    ],
)
def test_what_cannot_be_found_is_said(tree, monkeypatch, path, message):
    (tree / "empty").mkdir()
    monkeypatch.chdir(tree)
    with pytest.raises(PlanError) as raised:
        find_files(path, SUFFIXES)
    assert message in str(raised.value)
    assert raised.value.hint


def test_no_match_says_where_relative_paths_start(tree, monkeypatch):
    monkeypatch.chdir(tree)
    with pytest.raises(PlanError, match="no file matches") as raised:
        find_files("none.parquet", SUFFIXES)
    assert raised.value.hint == f"relative paths start at the working directory, {tree}"


def test_partitions_are_named_below_the_common_folder():
    files = ["/d/a/1.parquet", "/d/a/2.parquet", "/d/b/c/1.parquet"]
    assert partition_names(files, "scan") == ["scan"] * 3
    assert partition_names(files, "file") == ["a/1.parquet", "a/2.parquet", "b/c/1.parquet"]
    assert partition_names(files, "directory") == ["a", "a", "b/c"]
    assert partition_names(["/d/1.parquet"], "directory") == ["."]


@given(st.lists(st.text("ab0129/._", max_size=8), max_size=8))
def test_natural_order_is_total(paths):
    backwards = paths[::-1]
    assert sorted(paths, key=natural_key) == sorted(backwards, key=natural_key)


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_numbers_sort_as_numbers(numbers):
    assert sorted((f"part-{n}" for n in numbers), key=natural_key) == [f"part-{n}" for n in sorted(numbers)]
