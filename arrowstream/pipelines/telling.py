"""What is told of a value that does not fit its model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from arrowstream.errors import nearest
from arrowstream.pipelines import models
from arrowstream.pipelines.fields import WrongError
from arrowstream.pipelines.mistakes import Document, Mistake, Path
from arrowstream.pipelines.signatures import Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from arrowstream.pipelines.environment import Environment

KINDS: dict[str, tuple[str, str, Mapping[str, type[Strict]]]] = {
    "source": ("a source", "begin with the format: parquet: bids/*.parquet", models.SOURCE_MODELS),
    "steps": ("a step", "begin with the verb: filter: price > 100", models.STEP_MODELS),
    "sinks": ("an output", "begin with the format: parquet: out/", models.SINK_MODELS),
    "late": ("an output", "begin with the format: parquet: out/", models.SINK_MODELS),
    "dead_letters": ("an output", "begin with the format: ndjson: out/", models.SINK_MODELS),
}


@dataclass(slots=True)
class Checked:
    """The parts of a file, each a model, or None where it is wrong.

    Attributes
    ----------
    source, steps, outputs, run
        Models, with the path of each step and output.
    mistakes
        What is wrong.
    partial
        Paths of parts of which something wrong has been left out.
    lost
        Columns that would be there if it had not been wrong.
    """

    document: Document
    file: str
    source: Strict | None = None
    steps: list[tuple[Path, Strict | None]] = field(default_factory=list)
    outputs: dict[str, list[tuple[Path, Strict | None]]] = field(default_factory=dict)
    run: Strict | None = None
    mistakes: list[Mistake] = field(default_factory=list)
    partial: set[Path] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def add(self, path: Path, message: str, *, key: bool = False, **more: Any) -> None:
        """Note a mistake at the value of `path`, or at its key."""
        self.mistakes.append(Mistake(self.file, self.document.place_of(path, key=key), message, **more))


@dataclass(frozen=True, slots=True)
class Telling:
    """Makes mistakes of what pydantic finds."""

    checked: Checked
    environment: Environment

    def add(self, path: Path, errors: list[Any]) -> None:
        """Note what is wrong with the value at `path`."""
        kinds = {error["type"] for error in errors}
        first = errors[0]
        if "extra_forbidden" in kinds:
            self._add_unknown(path)
        elif "missing" in kinds:
            self.checked.add(path[:-1], f'"{path[-1]}" is missing')
        elif "union_tag_not_found" in kinds:
            self._add_untold(path)
        elif wrong := next((error for error in errors if "error" in error.get("ctx", {})), None):
            others = [_expected(error) for error in errors if error is not wrong]
            self._add_wrong(path, wrong["ctx"]["error"], others)
        else:
            said = _joined([_expected(error) for error in errors])
            choices = _choices(errors)
            shown = self._shown(path, first["input"])
            near = nearest(str(first["input"]), choices) if choices else None
            hint = f'did you mean "{near}"?' if near else None
            if choices and len(kinds) == 1:
                self.checked.add(
                    path, f"{_name(path)}: {shown} is not one of its choices", choices=choices, hint=hint
                )
            else:
                self.checked.add(path, f"{_name(path)}: {shown} is not {said}", choices=choices, hint=hint)

    def _add_wrong(self, path: Path, error: object, others: list[str]) -> None:
        """What a check of ours says; `others` are what the value could have been besides."""
        assert isinstance(error, WrongError)
        found = error.error
        hint = found.hint if not others else f"{found.hint}, or {_joined(others)}"
        message = self.environment.hidden(f"{_name(path)}: {found.fact}")
        self.checked.add(path, message, choices=found.choices, hint=hint)

    def _add_unknown(self, path: Path) -> None:
        *above, key = path
        known = self._keys(tuple(above))
        message, more = unknown_key(str(key), known)
        if above and above[0] == "steps" and key in models.STEPS:
            more = {"hint": f"begin another step with a dash: - {key}: …"}
        self.checked.add(path, message, key=True, **more)

    def _keys(self, path: Path) -> tuple[str, ...]:
        """The keys that the mapping at `path` may have."""
        made: Any = models.RunSection
        below = path[1:]
        if path[0] in KINDS:
            known = KINDS[str(path[0])][2]
            length = 2 if len(path) > 1 and isinstance(path[1], int) else 1
            value, below = self.checked.document.at(path[:length]), path[length:]
            made = next((known[key] for key in value if key in known), None)
        for key in below:
            made = None if made is None else _inner(made, str(key))
        return () if made is None else tuple(_fields_of(made))

    def _add_untold(self, path: Path) -> None:
        what, hint, known = KINDS[str(path[0])]
        value = self.checked.document.at(path)
        if not isinstance(value, dict) or not value:
            shown = "nothing" if value in (None, {}) else self._shown(path, value)
            self.checked.add(path, f"{what} is wanted here, not {shown}", choices=tuple(known), hint=hint)
            return
        key = str(next(iter(value)))
        near = next((found for name in value if (found := nearest(str(name), known))), None)
        hint = f'did you mean "{near}"?' if near else hint
        self.checked.add(
            (*path, key), f'there is no {what.split()[-1]} "{key}"', choices=tuple(known), hint=hint, key=True
        )

    def _shown(self, path: Path, value: object) -> str:
        """A value, as it is written in the file."""
        if path in self.environment.sources:
            return self.environment.sources[path]
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict | list):
            return "a mapping" if isinstance(value, dict) else "a list"
        return str(value) if isinstance(value, int | float) else f'"{value}"'


def _fields_of(made: type[Strict]) -> dict[str, Any]:
    """Types of a model's fields, by the names that they have in a file."""
    return {info.alias or name: info.annotation for name, info in made.model_fields.items()}


def _inner(made: type[Strict], key: str) -> type[Strict] | None:
    """The model of a field, if it has one."""
    type_ = _fields_of(made).get(key)
    found = (type_, *get_args(type_), *(inner for each in get_args(type_) for inner in get_args(each)))
    return next((each for each in found if isinstance(each, type) and issubclass(each, Strict)), None)


def unknown_key(key: str, known: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Message, choices and hint for a key that is not known."""
    near = nearest(key, known)
    return f'unknown key "{key}"', {"choices": known, "hint": f'did you mean "{near}"?' if near else None}


def _name(path: Path) -> str:
    """The key that a value stands behind: of an item of a list, that of the list."""
    return next((str(key) for key in reversed(path) if isinstance(key, str)), "the file")


_EXPECTED = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a mapping of names to values",
    "list": "a list",
    "none": "nothing",
    "model": "a mapping",
}


def _expected(error: Any) -> str:
    kind = error["type"].split("_")[0]
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"]).replace("'", '"')
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    return str(error["msg"])


def _choices(errors: list[Any]) -> tuple[str, ...]:
    said = [error["ctx"]["expected"] for error in errors if error["type"] == "literal_error"]
    return tuple(choice for text in said for choice in re.findall(r"'([^']*)'", text))


def _joined(parts: list[str]) -> str:
    return " or ".join(dict.fromkeys(parts))
