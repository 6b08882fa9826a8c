"""From a document to models, part by part: a mistake in one part hides none in another."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from arrowstream.pipelines import models
from arrowstream.pipelines.telling import KINDS, Checked, Telling, unknown_key

if TYPE_CHECKING:
    from pathlib import Path as FilePath

    from arrowstream.pipelines.environment import Environment
    from arrowstream.pipelines.mistakes import Document, Path
    from arrowstream.pipelines.signatures import Strict

_OUTPUTS = ("sinks", "late", "dead_letters")
_FIELDS = tuple(models.PipelineFile.model_fields)
_NAMED = ("select", "with_columns", "agg")
_ALIAS = re.compile(r'\bas\s+(?:(\w+)|"([^"]+)")\s*$', re.IGNORECASE)


def check(document: Document, file: str, *, folder: FilePath, environment: Environment) -> Checked:
    """Read the parts of a document.

    Parameters
    ----------
    document
        With the environment's values put in.
    file
        What to call the file in mistakes.
    folder
        Where its paths begin.
    environment
        Says which values are not usable, and what was written for those that are.
    """
    checked = Checked(document, file)
    top = document.value
    if not isinstance(top, dict):
        what = "is empty" if top is None else "has no keys at its top"
        checked.add((), f"the file {what}", hint="it needs source: and sinks:", choices=tuple(_FIELDS))
        return checked
    part = _Part(checked, Telling(checked, environment), folder)
    for key in top:
        if key not in _FIELDS:
            message, more = unknown_key(key, _FIELDS)
            checked.add((key,), message, key=True, **more)
    for key in ("source", "sinks"):
        if top.get(key) in (None, [], {}):
            hint = "say where rows come from" if key == "source" else "say where the rows go"
            checked.add(
                (key,), f'"{key}" is missing', hint=f"{hint}, such as {KINDS[key][1].split(': ', 1)[1]}"
            )
    if top.get("source") not in (None, [], {}):
        checked.source = part.read(("source",), models.Source)
    checked.steps = part.read_list(("steps",), models.Step)
    for key in _OUTPUTS:
        checked.outputs[key] = part.read_list((key,), models.Sink, one=True)
    checked.run = (
        part.read(("run",), models.RunSection) if top.get("run") is not None else models.RunSection()
    )
    return checked


@dataclass(frozen=True, slots=True)
class _Part:
    """Reads values of the document into models."""

    checked: Checked
    telling: Telling
    folder: FilePath

    def read_list(self, path: Path, type_: Any, *, one: bool = False) -> list[tuple[Path, Strict | None]]:
        """The items of a list; with `one` a single item may stand for itself."""
        value = self.checked.document.at(path)
        if value is None:
            return []
        if one and not isinstance(value, list):
            return [(path, self.read(path, type_))]
        if not isinstance(value, list):
            self.checked.add(
                path, f'"{path[-1]}" is no list', hint="begin each item with a dash: - filter: …"
            )
            return []
        return [((*path, index), self.read((*path, index), type_)) for index in range(len(value))]

    def read(self, path: Path, type_: Any) -> Strict | None:
        """One part as a model, with mistakes noted.

        What is wrong with it is left out, so that the rest can still be checked; None if there is no rest.
        """
        unusable = [place for place in self.telling.environment.unusable if place[: len(path)] == path]
        value = self.checked.document.at(path)
        try:
            found = self._model(type_, value)
        except ValidationError as error:
            by_place: dict[Path, list[Any]] = {}
            for one in error.errors(include_url=False):
                by_place.setdefault(self._path(path, one), []).append(one)
            for place, errors in by_place.items():
                if place not in unusable:
                    self.telling.add(place, errors)
            unusable.extend(by_place)
        else:
            if not unusable:
                return found
        self.checked.partial.add(path)
        try:
            return self._model(type_, self._without(path, unusable))
        except ValidationError:
            return None

    def _model(self, type_: Any, value: object) -> Strict:
        made: Strict = TypeAdapter(type_).validate_python(value, context={"folder": self.folder})
        return made

    def _without(self, path: Path, wrong: list[Path]) -> object:
        """The value at `path` without those inside; None if nothing would be left that means the same."""
        part: Any = copy.deepcopy(self.checked.document.at(path))
        for place in dict.fromkeys(wrong):
            inside, below = part, place[len(path) :]
            if len(below) == 2 and below[0] in _NAMED and isinstance(part, dict):
                if isinstance(part.get(below[0]), list):
                    part[below[0]] = dict(enumerate(part[below[0]]))  # the others keep their places
                inside = part.get(below[0])
            key = below[-1] if inside is not part else next(iter(below), None)
            if not isinstance(inside, dict):
                return None
            written = inside.pop(key, None)
            if inside is not part:
                self.checked.lost.update(_names_of(key, written))
        return part

    def _path(self, path: Path, error: Any) -> Path:
        """Where in the document an error of a part is: without the steps that only the models have."""
        where: list[str | int] = list(error["loc"])
        if path[0] in KINDS and where and error["type"] != "union_tag_not_found":
            where = where[1:]  # which of the models it is
        found, value = path, self.checked.document.at(path)
        for key in where:
            inside = (isinstance(value, dict) and key in value) or (
                isinstance(value, list) and isinstance(key, int) and key < len(value)
            )
            if inside:
                value = self.checked.document.at((*found, key))
            elif not (error["type"] in ("missing", "extra_forbidden") and key == where[-1]):
                continue
            found = (*found, key)
        return found


def _names_of(key: object, written: object) -> list[str]:
    """The column that an expression in a mapping or list would have given."""
    found = _ALIAS.search(written) if isinstance(written, str) and isinstance(key, int) else None
    name = key if found is None else found[1] or found[2]
    return [name] if isinstance(name, str) else []
