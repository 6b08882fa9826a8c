"""`arrowstream checkpoints`: look at checkpoints without running anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from arrowstream.cli import console
from arrowstream.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path


def verify_checkpoint(folder: Path) -> bool:
    """Print what is wrong with a checkpoint, file by file; whether nothing is.

    Raises
    ------
    StateError
        There is no checkpoint.
    """
    if not folder.is_dir():
        raise StateError(
            f"there is no checkpoint {folder}", hint="give the folder that a job ran with: its checkpoint"
        )
    from arrowstream.runtime.verify import verify

    findings = verify(folder)
    for finding in findings:
        console.out.print(Text(str(finding)))
    if not findings:
        console.out.print(f"{folder}: every file is whole")
    return not findings
