"""Tumbling windows of an hour by two whole-number keys: the table of the one window outgrows every cache."""

from __future__ import annotations

from peers import PEERS, tumbling
from question import Question, Target

QUESTION = Question(
    title="One hour by auction and bidder (high cardinality)",
    asks="the same in windows of an hour by auction and bidder: one result row for three bids",
    contenders=tumbling("1h", "1 hour", ["auction", "bidder"]),
    targets=[Target("arrowstream", PEERS, at_least=0.8)],
    keys=["date_time", "auction", "bidder"],
)
