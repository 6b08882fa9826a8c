"""Columns and types of the Nexmark tables."""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

_TIME = pl.Datetime("ms")

PERSON_SCHEMA = pl.Schema(
    {
        "id": pl.Int64(),
        "name": pl.String(),
        "email_address": pl.String(),
        "credit_card": pl.String(),
        "city": pl.String(),
        "state": pl.String(),
        "date_time": _TIME,
        "extra": pl.String(),
    }
)
AUCTION_SCHEMA = pl.Schema(
    {
        "id": pl.Int64(),
        "item_name": pl.String(),
        "description": pl.String(),
        "initial_bid": pl.Int64(),
        "reserve": pl.Int64(),
        "date_time": _TIME,
        "expires": _TIME,
        "seller": pl.Int64(),
        "category": pl.Int64(),
        "extra": pl.String(),
    }
)
BID_SCHEMA = pl.Schema(
    {
        "auction": pl.Int64(),
        "bidder": pl.Int64(),
        "price": pl.Int64(),
        "channel": pl.String(),
        "url": pl.String(),
        "date_time": _TIME,
        "extra": pl.String(),
    }
)
EVENT_SCHEMA = pl.Schema(
    {
        "event_type": pl.Enum(["person", "auction", "bid"]),
        "date_time": _TIME,
        "person": pl.Struct(PERSON_SCHEMA),
        "auction": pl.Struct(AUCTION_SCHEMA),
        "bid": pl.Struct(BID_SCHEMA),
    }
)
Kind: TypeAlias = Literal["person", "auction", "bid"]

SCHEMAS: dict[Kind, pl.Schema] = {"person": PERSON_SCHEMA, "auction": AUCTION_SCHEMA, "bid": BID_SCHEMA}
