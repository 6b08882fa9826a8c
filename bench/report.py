"""Machine facts, verdicts, and the tables in README.md and results.json."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
from question import MemoryTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contender import Measured
    from question import Question, Target

HERE = Path(__file__).parent
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_PART = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", re.DOTALL)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    libraries = ("polars", "duckdb", "pyarrow", "numba", "numpy")
    return {
        "cpu": model.group(1) if model else platform.processor() or platform.machine(),
        "cores": str(psutil.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def verdict(target: Target | MemoryTarget, measured: Mapping[str, Measured]) -> str | None:
    """One line: the figure, the target, and whether it is met; None if a side of it was not measured."""
    if isinstance(target, MemoryTarget):
        if not {target.contender, target.against} <= measured.keys():
            return None
        ratio = measured[target.contender].peak_bytes / max(measured[target.against].peak_bytes, 1)
        met = "met" if ratio <= target.at_most else "MISSED"
        limit = f"(target ≤ {target.at_most})"
        return f"{target.contender}: {ratio:.2f} × the peak memory of {target.against} {limit}: {met}"
    peers = [name for name in target.against if name in measured]
    if target.contender not in measured or not peers:
        return None
    fastest = min(peers, key=lambda name: measured[name].seconds_per_million)
    ratio = measured[fastest].seconds_per_million / measured[target.contender].seconds_per_million
    met = "met" if ratio >= target.at_least else "MISSED"
    return f"{target.contender}: {ratio:.2f} × as fast as {fastest} (target ≥ {target.at_least}): {met}"


def section(question: Question, measured: Mapping[str, Measured], failures: Mapping[str, str]) -> str:
    """A question's part of the README."""
    lines = [
        f"### {question.title}",
        "",
        f"{question.asks[0].upper()}{question.asks[1:]}.",
        "",
        "| contender | rows | runs | median s | spread s | M rows/s | CPU s | peak MiB | result rows |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, result in sorted(measured.items(), key=lambda item: item[1].seconds_per_million):
        lines.append(
            f"| {name} | {result.rows:,} | {len(result.seconds)} | {median(result.seconds):.3f} "
            f"| {min(result.seconds):.3f}–{max(result.seconds):.3f} | {result.rows_per_second / 1e6:.1f} "
            f"| {median(result.cpu_seconds):.2f} | {result.peak_bytes / 2**20:,.0f} "
            f"| {'' if result.result_rows is None else f'{result.result_rows:,}'} |"
        )
    verdicts = [line for target in question.targets if (line := verdict(target, measured))]
    lines += ["", *(f"- {line}" for line in verdicts)]
    lines += [f"- {name} could not run: {reason}" for name, reason in failures.items()]
    return "\n".join(lines).rstrip() + "\n"


def write(
    sections: Mapping[str, str],
    results: Mapping[str, Any],
    *,
    facts: Mapping[str, str],
    order: Sequence[str],
) -> None:
    """Put these questions into results.json, and into README.md between its two marks; the others stay."""
    path, readme = HERE / "results.json", HERE / "README.md"
    known = json.loads(path.read_text())["questions"] if path.exists() else {}
    merged = {name: {**known, **results}[name] for name in order if name in known or name in results}
    machine_facts = {name: value for name, value in facts.items() if name != "commit"}
    path.write_text(json.dumps({"machine": machine_facts, "questions": merged}, indent=1) + "\n")
    before, _, rest = readme.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    parts = dict(_PART.findall(written)) | {
        name: f"{text}\nMeasured at commit {facts['commit']}.\n" for name, text in sections.items()
    }
    table = "\n".join(
        [
            "| machine | |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in machine_facts.items()),
        ]
    )
    body = "\n".join(
        f"<!-- {name} -->\n\n{parts[name].strip()}\n\n<!-- /{name} -->\n" for name in order if name in parts
    )
    readme.write_text(f"{before}{BEGIN}\n\n{table}\n\n{body}\n{END}{after}")
