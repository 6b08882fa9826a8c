"""The JSON Schema of pipeline files, with which an editor completes and checks them."""

from __future__ import annotations

import json
from typing import Any

from arrowstream.pipelines.models import PipelineFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-.*)?\}"}
"""Where a number or a choice is wanted, a variable of the environment may stand."""


def json_schema() -> str:
    """As text, the same on every machine.

    Examples
    --------
    >>> json.loads(json_schema())["required"]
    ['source', 'sinks']
    """
    made = PipelineFile.model_json_schema()
    schema = {"$schema": _DIALECT, **_tidied(made, at_name=False)}
    schema["title"] = "arrowstream pipeline"
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _tidied(value: Any, *, at_name: bool) -> Any:
    """Without the titles that pydantic makes of names, and with references for all that is no text.

    `at_name`: the keys of this mapping are names of properties.
    """
    if isinstance(value, list):
        return [_tidied(item, at_name=False) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if at_name or key != "title" or "properties" in value}
    tidied = {
        key: _tidied(item, at_name=not at_name and key in ("properties", "$defs"))
        for key, item in kept.items()
    }
    if at_name or not ("enum" in tidied or tidied.get("type") in ("integer", "number", "boolean")):
        return tidied
    about = {key: tidied.pop(key) for key in ("description", "default") if key in tidied}
    return {"anyOf": [tidied, _REFERENCE], **about}
