"""Tumbling windows of 10 s by two keys, one of them a string: nearly as many groups as rows."""

from __future__ import annotations

from peers import PEERS, tumbling
from question import Question, Target

QUESTION = Question(
    title="Tumbling 10 s by auction and channel",
    asks="the same by both: two result rows for three bids",
    contenders=tumbling("10s", "10 seconds", ["auction", "channel"]),
    targets=[Target("arrowstream", PEERS, at_least=0.9)],
    keys=["date_time", "auction", "channel"],
)
