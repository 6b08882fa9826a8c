"""The package as it is built: links, version, and what importing it loads."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import arrowstream

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hatch_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hook(module: ModuleType, root: Path):
    return module.LinkCheckHook(str(root), {}, None, None, "", "wheel")


def test_this_checkout_can_be_built(hatch_build: ModuleType) -> None:
    hook(hatch_build, ROOT).initialize("standard", {})


def test_a_checkout_without_symbolic_links_cannot(hatch_build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "arrowstream").mkdir()
    (tmp_path / "arrowstream" / "kernels").write_text("../kernels")  # what git writes instead of a link

    with pytest.raises(RuntimeError, match="kernels should be a symbolic link") as info:
        hook(hatch_build, tmp_path).initialize("editable", {})
    assert "but is a text file" in str(info.value)
    assert "git config core.symlinks true && git checkout -- arrowstream/kernels" in str(info.value)


def test_version_of_the_distribution_is_the_packages() -> None:
    assert importlib.metadata.version("arrowstream") == arrowstream.__version__
