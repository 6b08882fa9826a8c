"""Tumbling windows of 10 s by a whole-number key."""

from __future__ import annotations

from peers import PEERS, tumbling
from question import Question, Target

QUESTION = Question(
    title="Tumbling 10 s by auction",
    asks="count, sum and max of the price in windows of 10 s by auction: one result row for 15 bids",
    contenders=tumbling("10s", "10 seconds", ["auction"]),
    targets=[Target("arrowstream", PEERS, at_least=1.5)],
    keys=["date_time", "auction"],
)
