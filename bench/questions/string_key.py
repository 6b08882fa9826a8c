"""Tumbling windows of 10 s by a string key."""

from __future__ import annotations

from peers import PEERS, tumbling
from question import Question, Target

QUESTION = Question(
    title="Tumbling 10 s by channel (string)",
    asks="the same by channel, a string of 10,004 distinct values: one result row for 9 bids",
    contenders=tumbling("10s", "10 seconds", ["channel"]),
    targets=[Target("arrowstream", PEERS, at_least=1.1)],
    keys=["date_time", "channel"],
)
