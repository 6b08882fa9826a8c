"""Pipelines as files: YAML or TOML, with Polars SQL for expressions."""

from __future__ import annotations

from arrowstream.pipelines.files import Pipeline, lint, load, read
from arrowstream.pipelines.json_schema import json_schema
from arrowstream.pipelines.mistakes import Mistake, Place

__all__ = ["Mistake", "Pipeline", "Place", "json_schema", "lint", "load", "read"]
