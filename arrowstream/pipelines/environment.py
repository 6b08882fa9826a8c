"""`${NAME}` and `${NAME:-default}` in pipeline files; and keeping what they stand for out of messages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from arrowstream.pipelines.mistakes import Document, Mistake, Path

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN_CHARACTERS_MIN = 4
"""Shorter values are everywhere in a text, and no secret; hiding them would make it unreadable."""

_REFERENCE = re.compile(r"\$(?:\$\{|\{(?P<inside>[^}]*)(?P<end>\}?))")
_INSIDE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_HINT = "write ${NAME} or ${NAME:-default}; $${ stands for ${ itself"


@dataclass(slots=True)
class Environment:
    """Replaces references to variables, and knows afterwards what must not be printed.

    Parameters
    ----------
    variables
        Such as `os.environ`.
    """

    variables: Mapping[str, str]
    unusable: set[Path] = field(default_factory=set)
    sources: dict[Path, str] = field(default_factory=dict)
    _used: dict[str, str] = field(default_factory=dict)

    def applied(self, document: Document, file: str) -> tuple[Document, list[Mistake]]:
        """The document with the variables' values, and what is wrong with its references.

        A value with a wrong reference stays as it is written, and its path is in `unusable`.
        """
        mistakes: list[Mistake] = []

        def visit(value: object, path: Path) -> object:
            if isinstance(value, dict):
                return {key: visit(item, (*path, key)) for key, item in value.items()}
            if isinstance(value, list):
                return [visit(item, (*path, index)) for index, item in enumerate(value)]
            if not isinstance(value, str) or "${" not in value:
                return value
            replaced, wrong = self._replaced(value)
            if wrong:
                self.unusable.add(path)
                place = document.place_of(path)
                mistakes.extend(Mistake(file, place, text, hint=hint) for text, hint in wrong)
                return value
            self.sources[path] = value
            return replaced

        return Document(visit(document.value, ()), document.values, document.keys), mistakes

    def _replaced(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        wrong: list[tuple[str, str]] = []

        def replacement(found: re.Match[str]) -> str:
            if found["inside"] is None:
                return "${"
            inside = _INSIDE.fullmatch(found["inside"])
            if not found["end"] or inside is None:
                what = found[0] if found["end"] else "${"
                wrong.append((f"{what} is no reference to an environment variable", _HINT))
                return found[0]
            name, default = inside[1], inside[2]
            value = self.variables.get(name)
            if default is not None and not value:
                return default
            if value is None:
                hint = f"set it, or give a default: ${{{name}:-…}}"
                wrong.append((f"the environment variable {name} is not set", hint))
                return found[0]
            self._used[name] = value
            return value

        return _REFERENCE.sub(replacement, text), wrong

    def hidden(self, text: str) -> str:
        """The text with the variables' names for their values: what may be printed."""
        for name, value in sorted(self._used.items(), key=lambda item: -len(item[1])):
            if len(value) >= HIDDEN_CHARACTERS_MIN:
                for written in {value, repr(value)[1:-1]}:
                    text = text.replace(written, f"${{{name}}}")
        return text
