"""What names say about log files: which of them are rotations of one log, and which is the older one."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePath

from arrowstream.connectors.files.compression import without_codec
from arrowstream.connectors.files.paths import natural_key

_SUFFIX = re.compile(r"([.\-_]\d[\d.\-_T:]*)$")
_DATE_DIGITS = 6  # more digits than a counter of rotations ever has


@lru_cache(1 << 16)
def log_of(path: str) -> str:
    """The path of the log that this file is a rotation of, or was: itself if it is none.

    Examples
    --------
    >>> log_of("/var/log/a.log.2.gz"), log_of("a.log-20261124"), log_of("a.log")
    ('/var/log/a.log', 'a.log', 'a.log')
    """
    plain = without_codec(path)
    name = PurePath(plain).name
    suffix = _SUFFIX.search(name)
    if suffix is None or "." not in name[: suffix.start()].lstrip("."):
        return plain
    return plain[: len(plain) - len(suffix[0])]


def oldest_first(path: str) -> tuple[object, ...]:
    """Sort key: logs in natural order, and of each log the oldest rotation first, the live file last.

    Examples
    --------
    >>> sorted(["a.log", "a.log.1", "a.log.10", "a.log.2.gz", "B.log"], key=oldest_first)
    ['B.log', 'a.log.10', 'a.log.2.gz', 'a.log.1', 'a.log']
    >>> sorted(["a.log", "a.log-20261124", "a.log-20261123.gz"], key=oldest_first)
    ['a.log-20261123.gz', 'a.log-20261124', 'a.log']
    """
    log = log_of(path)
    rotation = without_codec(path)[len(log) :]
    digits = "".join(character for character in rotation if character.isdecimal())
    if not digits:
        return (natural_key(log), 1, 0, path)
    counted = len(digits) <= _DATE_DIGITS
    return (natural_key(log), 0, -int(digits) if counted else int(digits), path)
