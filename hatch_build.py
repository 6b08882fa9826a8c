"""Build hook: a checkout without symbolic links must fail to build, not give an empty package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LINKS = {"kernels": "../kernels", "connectors": "../connectors"}


class LinkCheckHook(BuildHookInterface[Any]):
    """Refuses to build while `arrowstream/kernels` or `arrowstream/connectors` is not a folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  (hatchling's signature)
        """Called by hatchling before each target is built, editable installs too."""
        for name, target in LINKS.items():
            folder = Path(self.root, "arrowstream", name)
            if not (folder / "__init__.py").is_file():
                found = "a text file" if folder.is_file() else "no folder with an __init__.py"
                raise RuntimeError(
                    f"arrowstream/{name} should be a symbolic link to {target}, but is {found}.\n"
                    "  hint: this checkout was made without symbolic links. Turn them on "
                    "(on Windows: developer mode) and check out again:\n"
                    f"        git config core.symlinks true && git checkout -- arrowstream/{name}"
                )
