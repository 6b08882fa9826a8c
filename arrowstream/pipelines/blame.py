"""Where in a file an error of the API belongs, and how it is said there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from arrowstream.errors import ArrowStreamError
from arrowstream.pipelines.mistakes import Mistake, Path, Place
from arrowstream.pipelines.models import STEPS
from arrowstream.pipelines.words import hint_in_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from arrowstream.pipelines.environment import Environment
    from arrowstream.pipelines.telling import Checked

Result = TypeVar("Result")

_VERB = re.compile(rf"^(?:scan|agg|{'|'.join(STEPS)}): ")
_UNKNOWN = re.compile(r'there is no column "([^"]+)"')
_QUOTED = re.compile(r'"([^"]+)"')


@dataclass(slots=True)
class Blame:
    """Makes mistakes of the errors that calls of the API raise.

    Attributes
    ----------
    lost
        Columns that are missing only because of an earlier mistake: errors about them are not told.
    """

    checked: Checked
    environment: Environment
    lost: set[str] = field(default_factory=set)

    def tried(
        self, path: Path, verb: str, options: Mapping[str, Any], call: Callable[[], Result]
    ) -> Result | None:
        """The result of a call; None, and a mistake where the error points to."""
        try:
            return call()
        except ArrowStreamError as error:
            self.add(self.about(path, verb, options, error), error)
            return None

    def about(self, path: Path, verb: str, options: Mapping[str, Any], error: ArrowStreamError) -> Path:
        """The value that an error speaks of: the option that it names, or a text that it quotes."""
        for name in options:
            if re.search(rf"(?:^|\W){re.escape(name)}(?:=|:)", error.fact):
                return (*path, name)
        document = self.checked.document
        for quoted in _QUOTED.findall(error.fact):
            below = [place for place in document.values if place[: len(path)] == path and place != path]
            texts = {place: document.at(place) for place in below}
            equal = [place for place, text in texts.items() if text == quoted or place[-1] == quoted]
            word = re.compile(rf"\b{re.escape(quoted)}\b")
            found = equal or [p for p, text in texts.items() if isinstance(text, str) and word.search(text)]
            if found:
                return found[0]
        return (*path, verb)

    def _quoted_text_hint(self, path: Path, error: ArrowStreamError) -> str | None:
        """For a text that has got into double quotes, which SQL has for names."""
        unknown = _UNKNOWN.search(error.fact)
        while path and self.checked.document.at(path) is None:
            path = path[:-1]
        written = self.checked.document.at(path)
        if unknown and isinstance(written, str) and f'"{unknown[1]}"' in written:
            return f"a text stands in single quotes: '{unknown[1]}'"
        return None

    def _place(self, path: Path, error: ArrowStreamError) -> Place:
        """Where the value is, or its key, if the error quotes that."""
        document = self.checked.document
        is_column = path[-2:-1] in (("rename",), ("cast",)) and f'"{path[-1]}"' in error.fact
        return document.place_of(path, key=is_column and document.at(path) is not None)

    def add(self, path: Path, error: ArrowStreamError, *, hint: str | None = None) -> None:
        """Note an error of a call at the value that it is about; `hint` goes before its own."""
        if any(f'"{name}"' in error.fact for name in self.lost):
            return  # a column that an earlier mistake is to blame for
        file, hidden = self.checked.file, self.environment.hidden
        found = Mistake.of(error, file, self._place(path, error))
        said = hint_in_file(hint or found.hint or self._quoted_text_hint(path, error), found.message)
        self.checked.mistakes.append(
            Mistake(
                file,
                found.place,
                hidden(_without_verb(found.message)),
                tuple(map(hidden, found.choices)),
                hidden(said) if said else None,
            )
        )


def _without_verb(message: str) -> str:
    """Messages begin with the verb, which the place says already."""
    message = _VERB.sub("", message)
    # Where it is in the expression is told in Polars' words, which nobody has written.
    return message.split(", in ")[0] if "looks at other rows" in message else message
