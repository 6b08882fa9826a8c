"""`arrowstream warmup`: compile the kernels ahead."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from arrowstream.cli import console


def compile_kernels() -> None:
    """Compile every kernel, or load it from the cache, with a progress bar."""
    from arrowstream.kernels.warmup import warmup

    started = time.perf_counter()
    columns = (TextColumn("compiling {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console.err, transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(name: str, done: int, total: int) -> None:
            progress.update(task, description=name, completed=done, total=total)

        count = warmup(show)
    console.out.print(f"{count} kernels are ready ({time.perf_counter() - started:.1f} s)")
