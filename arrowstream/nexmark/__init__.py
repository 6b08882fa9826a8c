"""The Nexmark auction benchmark's event stream: persons, auctions and bids, vectorised.

The proportions, skew and formulas are those of the original generator (Apache Beam's, and nexmark/nexmark's
for the channels). Of 50 events 1 is a person, 3 are auctions and 46 are bids. Half of the bids go to the hot
auction of the moment and half through one of four hot channels, the rest through 10,000 others; three
quarters come from the hot bidder, and three quarters of the auctions from the hot seller; prices are
log-uniform between 1 and 1,000,000, in cents.

Every value is a hash of (seed, event number, field). Any slice of the stream can be made on its own, and one
seed gives the same rows however they are cut into chunks.
"""

from __future__ import annotations

from arrowstream.nexmark.schema import (
    AUCTION_SCHEMA,
    BID_SCHEMA,
    EVENT_SCHEMA,
    PERSON_SCHEMA,
    SCHEMAS,
)
from arrowstream.nexmark.stream import (
    CHUNK_ROWS,
    RATE,
    ROW_GROUP_ROWS,
    START,
    Nexmark,
    auctions,
    bids,
    events,
    iter_bids,
    persons,
    write_parquet,
)

__all__ = [
    "AUCTION_SCHEMA",
    "BID_SCHEMA",
    "CHUNK_ROWS",
    "EVENT_SCHEMA",
    "PERSON_SCHEMA",
    "RATE",
    "ROW_GROUP_ROWS",
    "SCHEMAS",
    "START",
    "Nexmark",
    "auctions",
    "bids",
    "events",
    "iter_bids",
    "persons",
    "write_parquet",
]
