"""What each column of a person, an auction and a bid is made of: the formulas of the original generator."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from arrowstream.nexmark.draws import Draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from arrowstream.nexmark.draws import Numbers
    from arrowstream.nexmark.schema import Kind

EPOCH = 50
"""Events in which the proportions repeat: a person first, then three auctions, then bids."""

SPANS: dict[Kind, range] = {"person": range(1), "auction": range(1, 4), "bid": range(4, EPOCH)}
"""Places of each kind within an epoch."""

AUCTIONS = len(SPANS["auction"])

FIRST_ID = 1000
FIRST_CATEGORY, CATEGORIES = 10, 5
ID_LEAD = 10  # ids that do not exist yet: events seem to have been swapped in time
HOT_EVERY = 100  # of so many consecutive auctions or persons one is hot
HOT_AUCTION_RATIO, HOT_PERSON_RATIO, HOT_CHANNEL_RATIO = 2, 4, 2  # all but one in so many go to the hot one
IN_FLIGHT_AUCTIONS, ACTIVE_PERSONS = 100, 1000
HOT_CHANNELS = ("Google", "Facebook", "Baidu", "Apple")
CHANNELS = 10_000
PERSON_BYTES, AUCTION_BYTES, BID_BYTES = 200, 500, 100  # averages, kept by the length of `extra`
STRING_BYTES_MIN = 3

STATES = ["AZ", "CA", "ID", "OR", "WA", "WY"]
CITIES = [
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
]
FIRST_NAMES = ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"]
LAST_NAMES = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"]


@dataclass(frozen=True, slots=True)
class Clock:
    """Event time of an event number."""

    start_ms: int
    rate: int

    def __call__(self, number: Numbers) -> Numbers:
        """Milliseconds since 1970."""
        return self.start_ms + number * 1000 // self.rate


def person_columns(draws: Draws, clock: Clock) -> dict[str, Callable[[], pl.Series | Numbers]]:
    """How to make each column of the persons."""

    def email_address() -> pl.Series:
        return _word(draws, 100, 7) + "@" + _word(draws, 200, 5) + ".com"

    def credit_card() -> pl.Series:
        blocks = [
            pl.Series(draws.below(300 + block, 10_000)).cast(pl.String).str.zfill(4) for block in range(4)
        ]
        return blocks[0] + " " + blocks[1] + " " + blocks[2] + " " + blocks[3]

    texts: dict[str, Callable[[], pl.Series]] = {
        "name": lambda: draws.choice(0, FIRST_NAMES) + " " + draws.choice(1, LAST_NAMES),
        "email_address": email_address,
        "credit_card": credit_card,
        "city": lambda: draws.choice(400, CITIES),
        "state": lambda: draws.choice(500, STATES),
    }

    def extra() -> pl.Series:
        used = np.full(draws.rows, 8, dtype=np.int64)
        for make in texts.values():
            used += make().str.len_bytes().to_numpy().astype(np.int64)
        return draws.padding(600, used, PERSON_BYTES)

    return {
        "id": lambda: FIRST_ID + draws.number // EPOCH,
        **texts,
        "date_time": lambda: clock(draws.number),
        "extra": extra,
    }


def auction_columns(draws: Draws, clock: Clock) -> dict[str, Callable[[], pl.Series | Numbers]]:
    """How to make each column of the auctions."""

    def expires() -> Numbers:
        # Around the time at which as many further auctions will have begun as are in flight.
        time = clock(draws.number)
        horizon = clock(draws.number + IN_FLIGHT_AUCTIONS * EPOCH // AUCTIONS) - time
        return time + 1 + draws.below(800, np.maximum(2 * horizon, 1))

    def extra() -> pl.Series:
        used = 6 * 8 + _word_length(draws, 0, 20) + _word_length(draws, 100, 100)
        return draws.padding(1000, used, AUCTION_BYTES)

    return {
        "id": lambda: (
            FIRST_ID + draws.number // EPOCH * AUCTIONS + draws.number % EPOCH - SPANS["auction"].start
        ),
        "item_name": lambda: _word(draws, 0, 20),
        "description": lambda: _word(draws, 100, 100),
        "initial_bid": lambda: _price(draws, 200),
        "reserve": lambda: _price(draws, 200) + _price(draws, 300),
        "date_time": lambda: clock(draws.number),
        "expires": expires,
        "seller": lambda: _person(draws, 400, hot=0),
        "category": lambda: FIRST_CATEGORY + draws.below(500, CATEGORIES),
        "extra": extra,
    }


def bid_columns(draws: Draws, clock: Clock) -> dict[str, Callable[[], pl.Series | Numbers]]:
    """How to make each column of the bids."""

    def auction() -> Numbers:
        newest = draws.number // EPOCH * AUCTIONS + AUCTIONS - 1
        oldest = np.maximum(newest - IN_FLIGHT_AUCTIONS, 0)
        other = oldest + draws.below(0, newest - oldest + 1 + ID_LEAD)
        hot = newest // HOT_EVERY * HOT_EVERY
        return FIRST_ID + np.where(draws.below(1, HOT_AUCTION_RATIO) > 0, hot, other)

    @functools.cache
    def channel_number() -> Numbers:
        hot = draws.below(301, len(HOT_CHANNELS))
        other = len(HOT_CHANNELS) + draws.below(302, CHANNELS)
        return np.where(draws.below(300, HOT_CHANNEL_RATIO) > 0, hot, other)

    return {
        "auction": auction,
        # The second person of each hundred, so that hot bidders and hot sellers do not collide.
        "bidder": lambda: _person(draws, 100, hot=1),
        "price": lambda: _price(draws, 200),
        "channel": lambda: channels()["channel"].gather(channel_number()),
        "url": lambda: channels()["url"].gather(channel_number()),
        "date_time": lambda: clock(draws.number),
        "extra": lambda: draws.padding(400, 4 * 8, BID_BYTES),
    }


COLUMNS: dict[Kind, Callable[[Draws, Clock], dict[str, Callable[[], pl.Series | Numbers]]]] = {
    "person": person_columns,
    "auction": auction_columns,
    "bid": bid_columns,
}


@functools.cache
def channels() -> pl.DataFrame:
    """Names and URLs of all channels, the hot ones first; nine in ten others have a number in the URL."""
    draws = Draws(np.arange(len(HOT_CHANNELS) + CHANNELS, dtype=np.int64), seed=0)
    number = np.arange(CHANNELS, dtype=np.int64)
    none = pl.Series([""])
    path = _word(draws, 0, 5) + "/" + _word(draws, 100, 5) + "/" + _word(draws, 200, 5)
    query = "&channel_id=" + pl.Series(_reversed_bits(number)).cast(pl.String)
    query = query.zip_with(pl.Series(draws.below(300, 10)[len(HOT_CHANNELS) :] > 0), none)
    return pl.DataFrame(
        {
            "channel": pl.concat([pl.Series(HOT_CHANNELS), "channel-" + pl.Series(number).cast(pl.String)]),
            "url": "https://www.nexmark.com/"
            + path
            + "/item.htm?query=1"
            + pl.concat([none.new_from_index(0, len(HOT_CHANNELS)), query]),
        }
    )


def _price(draws: Draws, field: int) -> Numbers:
    """Cents, log-uniform from 100 to 100,000,000."""
    return np.rint(np.power(10.0, draws.unit(field) * 6.0) * 100.0).astype(np.int64)


def _person(draws: Draws, field: int, *, hot: int) -> Numbers:
    """Id of a person: mostly the hot one of the newest hundred (at place `hot`), else any active one."""
    newest = draws.number // EPOCH
    active = np.minimum(newest + 1, ACTIVE_PERSONS)
    other = newest + 1 - active + draws.below(field, active + ID_LEAD)
    return FIRST_ID + np.where(
        draws.below(field + 1, HOT_PERSON_RATIO) > 0, newest // HOT_EVERY * HOT_EVERY + hot, other
    )


def _word_length(draws: Draws, field: int, end: int) -> Numbers:
    return STRING_BYTES_MIN + draws.below(field, end - STRING_BYTES_MIN)


def _word(draws: Draws, field: int, end: int) -> pl.Series:
    """A string of 3 to `end - 1` letters."""
    return draws.letters(field + 1, _word_length(draws, field, end))


def _reversed_bits(number: Numbers) -> Numbers:
    """Java's `Math.abs(Integer.reverse(number))`: what the original writes as a channel's id."""
    value = number.astype(np.uint32)
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        low = np.uint32(mask)
        value = (value >> np.uint32(shift) & low) | ((value & low) << np.uint32(shift))
    value = value >> np.uint32(16) | value << np.uint32(16)
    return np.abs(value.view(np.int32).astype(np.int64))
