# ruff: noqa: INP001 - a script beside the examples, not in a package
"""Makes the input of the examples: a few seconds of an auction, a day of a web server, some orders.

    python examples/generate.py [FOLDER]     # examples/data by default

Always the same bytes: the tests compare what comes out.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = 50_000
REQUESTS = 20_000
ORDERS = 2_000
READINGS = 5_000


def main(folder: Path) -> None:
    """Write all of it."""
    dice = random.Random(2026)  # noqa: S311 - examples, not keys
    bids(folder / "bids")
    web_log(folder / "log", dice)
    orders(folder / "orders", dice)
    readings(folder / "sensors", dice)


def bids(folder: Path) -> None:
    """Nexmark's bids, as Parquet."""
    from arrowstream import nexmark

    folder.mkdir(parents=True, exist_ok=True)
    frame = nexmark.bids(EVENTS, columns=("auction", "bidder", "price", "channel", "date_time"))
    half = frame.height // 2
    frame.head(half).write_parquet(folder / "bids-1.parquet")
    frame.tail(frame.height - half).write_parquet(folder / "bids-2.parquet")


def web_log(folder: Path, dice: random.Random) -> None:
    """A day of a web server, as newline JSON: a file an hour, lines a little out of order."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: dict[int, list[str]] = {}
    for number in range(REQUESTS):
        second = number * 86_400 // REQUESTS
        time = START + timedelta(seconds=max(0, second - dice.randrange(3)))
        request = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "client": {
                "ip": f"10.0.{dice.randrange(4)}.{dice.randrange(256)}",
                "agent": dice.choice(["curl", "web"]),
            },
            "path": dice.choice(["/", "/search", "/cart", "/health"]),
            "status": dice.choices([200, 404, 500], weights=[90, 8, 2])[0],
            "bytes": dice.randrange(200, 20_000),
        }
        lines.setdefault(second // 3600, []).append(json.dumps(request))
    for hour, text in lines.items():
        (folder / f"access-{hour:02}.ndjson").write_text("\n".join(text) + "\n")


def orders(folder: Path, dice: random.Random) -> None:
    """Orders as somebody exported them from a spreadsheet: CSV, with what goes wrong in such files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["order,ordered,customer,amount,currency"]
    for number in range(1, ORDERS + 1):
        time = (START + timedelta(minutes=number)).strftime("%Y-%m-%d %H:%M:%S")
        amount = f"{dice.randrange(100, 100_000) / 100:.2f}"
        customer = dice.choice(["Ada", '"Lovelace, Ada"', " Grace ", ""])
        currency = dice.choice(["EUR", "EUR", "EUR", "USD", "eur"])
        if number % 100 == 0:
            amount = "n/a"
        if number % 250 == 0:
            amount = f"-{amount.removeprefix('n/a') or '1.00'}"
        rows.append(f"{number},{time},{customer},{amount},{currency}")
    (folder / "orders.csv").write_text("\n".join(rows) + "\n")


def readings(folder: Path, dice: random.Random) -> None:
    """Readings of sensors, as Avro."""
    import fastavro

    folder.mkdir(parents=True, exist_ok=True)
    schema = {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": "sensor", "type": "string"},
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "celsius", "type": ["null", "double"]},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
        ],
    }
    records = [
        {
            "sensor": f"s{dice.randrange(5)}",
            "time": START + timedelta(seconds=number),
            "celsius": None if dice.random() < 0.02 else round(20 + dice.gauss(0, 3), 2),
            "tags": dice.sample(["roof", "north", "new"], dice.randrange(3)),
        }
        for number in range(READINGS)
    ]
    with (folder / "readings.avro").open("wb") as file:
        fastavro.writer(file, schema, records, codec="deflate", sync_marker=b"arrowstream-sync")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
