"""Models made of the signatures of the API: a pipeline file has the options that Python has, always.

Names, types and defaults come from the signature, descriptions from the docstring.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, create_model

from arrowstream.pipelines.fields import NOT_IN_FILES, name_type, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

_SECTION = re.compile(r"^(\w[\w ]*)\n-+\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\*{0,2}\w[^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)+)", re.MULTILINE)
_ALIASES = (
    "arrowstream.types",
    "arrowstream.connectors.files.options",
    "arrowstream.connectors.files.compression",
)
"""Where the names in annotations are, which the modules of the API import for type checkers only."""


class Strict(BaseModel):
    """What all parts of a pipeline file have in common: no key that is not known."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, frozen=True, protected_namespaces=()
    )

    def given(self) -> dict[str, Any]:
        """What the file says, by the names that it has there."""
        fields = type(self).model_fields
        return {fields[name].alias or name: getattr(self, name) for name in self.model_fields_set}


@dataclass(frozen=True, slots=True)
class Option:
    """One parameter of a function, as a field of a model."""

    name: str
    type: Any
    default: Any = ...
    description: str | None = None

    @property
    def field(self) -> tuple[str, tuple[Any, Any]]:
        """Name and definition for `create_model`; a name that pydantic has itself gets an alias."""
        taken = hasattr(BaseModel, self.name)
        info: Any = Field(
            default=self.default, description=self.description, alias=self.name if taken else None
        )
        return (f"{self.name}_" if taken else self.name), (self.type, info)


def options_of(
    function: Callable[..., Any],
    *,
    left_out: Collection[str] = (),
    types: Mapping[str, Any] | None = None,
    documented_by: Iterable[Callable[..., Any]] = (),
) -> list[Option]:
    """The parameters of a function that a file can have.

    Parameters
    ----------
    function
        Of the API.
    left_out
        Parameters to leave out; those that only Python can have are left out anyway.
    types
        For parameters whose annotation does not say enough.
    documented_by
        Where to look for a parameter that its own docstring does not describe.
    """
    described: dict[str, str] = {}
    for source in (*reversed(tuple(documented_by)), function):
        said = descriptions(source)
        described |= {name: text for name, text in said.items() if not (name in described and _refers(text))}
    where = {name: value for module in _ALIASES for name, value in _names(module).items()}
    where |= _names(function.__module__)
    found: list[Option] = []
    for name, parameter in inspect.signature(function).parameters.items():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if variable or name in {"self", *left_out} or name.startswith("_"):
            continue
        type_ = (types or {}).get(name) or type_of(str(parameter.annotation), where)
        if type_ is NOT_IN_FILES:
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        found.append(Option(name, type_, default, described.get(name)))
    return found


def model(name: str, options: Iterable[Option], *, text: str) -> type[Strict]:
    """A model of these fields; `text` is its description."""
    fields: dict[str, Any] = dict(option.field for option in options)
    made = create_model(name, __base__=Strict, **fields)
    made.__doc__ = text
    return made


def descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """What the docstring says of each parameter, in one line."""
    found: dict[str, str] = {}
    for names, text in _ENTRY.findall(_section(function, "Parameters")):
        said = " ".join(text.split())
        for part in re.sub(r" *:.*", "", names).split(","):
            found[part.strip().lstrip("*")] = said
    return found


def _refers(text: str) -> bool:
    """Whether it only says where to look."""
    return text.startswith("As in `")


def summary(function: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, in one line."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


def _section(function: Callable[..., Any], title: str) -> str:
    parts = _SECTION.split(inspect.getdoc(function) or "")
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return sections.get(title, "") + "\n"


def _names(module: str) -> dict[str, Any]:
    return vars(sys.modules.get(module) or __import__(module, fromlist=["_"]))


def _cast_options() -> Any:
    from typing import Annotated

    from pydantic import AfterValidator

    made = model("CastOptions", options_of(pl.ScanCastOptions), text=summary(pl.ScanCastOptions.__init__))
    return Annotated[made, AfterValidator(lambda value: pl.ScanCastOptions(**value.given()))]


name_type("ScanCastOptions", _cast_options())
