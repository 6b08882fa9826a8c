"""Every message of lint, with its line and column."""

from __future__ import annotations

import pytest

from arrowstream.pipelines import lint, load
from arrowstream.pipelines.models import SINK_MODELS, SOURCE_MODELS, STEP_MODELS

SOURCES, VERBS, OUTPUTS = map(", ".join, (SOURCE_MODELS, STEP_MODELS, SINK_MODELS))
COLUMNS = "time, auction, price, channel"

IN = "source: {parquet: bids.parquet, event_time: time}\n"
OUT = "sinks: {parquet: out}\n"


def steps(*lines: str) -> str:
    """A pipeline with these lines under `steps:`; the first is line 3."""
    return IN + "steps:\n" + "".join(f"{line}\n" for line in lines) + OUT


def test_a_right_file_has_no_mistakes(mistakes):
    assert mistakes(steps("  - filter: price > 10", "  - drop: channel")) == []


TEXTS = {
    "empty": ("", ["1:1: the file is empty"]),
    "a list": ("- a", ["1:1: the file has no keys at its top"]),
    "nothing said": ("{}", ['1:1: "source" is missing', '1:1: "sinks" is missing']),
    "sinks missing": (IN, ['1:1: "sinks" is missing\n  hint: say where the rows go, such as parquet: out/']),
    "unknown key": (
        IN + OUT + "sink: {parquet: out}\n",
        [
            (
                '3:1: unknown key "sink"\n  choices: source, steps, sinks, late, dead_letters, run\n'
                '  hint: did you mean "sinks"?'
            )
        ],
    ),
    "no format": (
        "source: {event_time: time}\n" + OUT,
        ['1:10: there is no source "event_time"'],
    ),
    "nearest format": (
        "source: {parket: bids.parquet}\n" + OUT,
        [f'1:10: there is no source "parket"\n  choices: {SOURCES}\n  hint: did you mean "parquet"?'],
    ),
    "source is a text": (
        "source: bids.parquet\n" + OUT,
        ['1:9: a source is wanted here, not "bids.parquet"'],
    ),
    "nearest option": (
        "source: {parquet: bids.parquet, event_tim: time}\n" + OUT,
        ['1:33: unknown key "event_tim"'],
    ),
    "not a choice": (
        "source: {parquet: bids.parquet, on_error: skp}\n" + OUT,
        [
            (
                '1:43: on_error: "skp" is not one of its choices\n  choices: raise, skip, dead_letter\n'
                '  hint: did you mean "skip"?'
            )
        ],
    ),
    "bad duration": (
        "source: {parquet: bids.parquet, event_time: time, lateness: 5 sec}\n" + OUT,
        ['1:61: lateness: "5 sec" is not a duration\n  hint: write a duration such as "10s" or "1h30m"'],
    ),
    "bad unit": (
        "source: {parquet: bids.parquet, event_time: time, lateness: 5x}\n" + OUT,
        ['1:61: lateness: "5x" has the unknown unit "x"\n  choices: ns, us, ms, s, m, h, d, w, mo, q, y\n'],
    ),
    "no unit": (
        "source: {parquet: bids.parquet, event_time: time, lateness: 5}\n" + OUT,
        ['1:61: lateness: 5 has no unit\n  hint: write a duration such as "10s" or "1h30m"'],
    ),
    "negative duration": (
        "source: {parquet: bids.parquet, event_time: time, lateness: -5s}\n" + OUT,
        ['1:61: lateness: "-5s" is negative\n  hint: write "0s" or more'],
    ),
    "no file": (
        "source: {parquet: bits.parquet}\n" + OUT,
        ["1:19: no file matches bits.parquet\n  hint: paths begin at the folder of this file; lint can do"],
    ),
    "event time is unknown": (
        "source: {parquet: bids.parquet, event_time: tim}\n" + OUT,
        [f'1:45: there is no column "tim"\n  choices: {COLUMNS}\n  hint: did you mean "time"?'],
    ),
    "event time is no time": (
        "source: {parquet: bids.parquet, event_time: price}\n" + OUT,
        ['1:45: column "price" is Int64, not a timestamp (pl.Datetime)\n  choices: time'],
    ),
    "steps are no list": (IN + "steps: {filter: price > 1}\n" + OUT, ['2:8: "steps" is no list']),
    "no verb": (
        steps("  - fliter: price > 1"),
        [f'3:5: there is no step "fliter"\n  choices: {VERBS}\n  hint: did you mean "filter"?'],
    ),
    "an empty step": (steps("  - "), ["3:4: a step is wanted here, not nothing"]),
    "a text for a step": (steps("  - price > 1"), ['3:5: a step is wanted here, not "price > 1"']),
    "two verbs": (
        steps("  - filter: price > 1", "    drop: price"),
        ['4:5: unknown key "drop"\n  hint: begin another step with a dash: - drop: …'],
    ),
    "SQL syntax": (
        steps("  - filter: price >"),
        ["3:13: filter: price > is no SQL expression\n  hint: it is a SQL expression: texts in"],
    ),
    "SQL function": (
        steps("  - filter: nosuch(price)"),
        ["3:13: filter: nosuch(price): SQL has no function nosuch"],
    ),
    "SQL reads a file": (
        steps("  - filter: price IN (SELECT a FROM read_csv('/etc/passwd'))"),
        ["3:13: filter: price IN (SELECT a FROM read_csv('/etc/passwd')) would read"],
    ),
    "SQL of a list": (
        steps("  - filter: [price > 1, price <]"),
        ["3:25: filter: price < is no SQL expression"],
    ),
    "an expression that is a list": (
        steps("  - filter: [[price]]"),
        ["3:14: filter: this is no SQL expression"],
    ),
    "no expression": (steps("  - select: []"), ["3:13: select: no expression is given"]),
    "unknown column": (
        steps("  - filter: prize > 1"),
        [f'3:13: there is no column "prize"\n  choices: {COLUMNS}\n  hint: did you mean "price"?'],
    ),
    "unknown column by name": (
        steps("  - with_columns:", "      a: price", "      b: prize"),
        ['5:10: there is no column "prize"'],
    ),
    "unknown column of a query": (
        steps("  - sql: SELECT prize FROM self"),
        ['3:10: there is no column "prize"'],
    ),
    "not boolean": (
        steps("  - filter: price"),
        ["3:13: filter predicate must be of type `Boolean`, got `Int64`"],
    ),
    "a time and a text": (
        steps("  - filter: time > '2026-01-01'"),
        ["3:13: cannot compare 'date/datetime/time' to a string value"],
    ),
    "an aggregate in a filter": (
        steps("  - filter: price > AVG(price)"),
        [
            (
                "3:13: mean() looks at other rows than its own\n"
                "  hint: aggregate the rows of a window instead: a step group_by_dynamic, with agg"
            )
        ],
    ),
    "a text in double quotes": (
        steps("""  - filter: channel = "Apple" """),
        [f'3:13: there is no column "Apple"\n  choices: {COLUMNS}\n  hint: a text stands in'],
    ),
    "Python": (
        steps("  - filter: pl.col('price') > 3"),
        ["3:13: filter: pl.col('price') > 3 is no SQL expression\n  hint: expressions are SQL, not Python"],
    ),
    "a comma in a list": (
        steps("  - filter: [COALESCE(price, 0) > 3]"),
        [
            "3:14: filter: COALESCE(price is no SQL expression\n  hint: inside of [ ] and { } a comma ends",
            "3:30: filter: 0) > 3 is no SQL expression",
        ],
    ),
    "no event time": (
        "source: {parquet: bids.parquet}\nsteps:\n  - {group_by_dynamic: time, every: 10s, agg: COUNT(*)}\n"
        + OUT,
        ["3:24: the stream has no event time\n  hint: say event_time: … in the source, or add a step"],
    ),
    "event time is lost": (
        steps("  - select: price", "  - {group_by_dynamic: price, every: 10s, agg: COUNT(*)}"),
        ['4:24: the stream has no event time\n  hint: "time" was lost in select; keep it unchanged'],
    ),
    "unknown column in a list": (
        steps("  - drop: [price, prize]"),
        ['3:19: there is no column "prize"'],
    ),
    "unknown column as a key": (
        steps("  - rename: {prize: a}"),
        ['3:14: there is no column "prize"'],
    ),
    "unknown column of a cast": (
        steps("  - cast: {prize: Int64}"),
        ['3:12: there is no column "prize"'],
    ),
    "no type": (steps("  - cast: {price: int8}"), ['3:19: price: "int8": there is no type int8']),
    "a type that is a number": (steps("  - cast: {price: 8}"), ["3:19: price: this is no type of a column"]),
    "not true or false": (
        steps("  - cast: {price: Int8}", "    strict: perhaps"),
        ['4:13: strict: "perhaps" is not true or false'],
    ),
    "not a number": (steps("  - limit: many"), ['3:12: limit: "many" is not a whole number']),
    "a negative number": (steps("  - limit: -1"), ["3:12: -1 is not a number of rows"]),
    "neither list nor array": (
        steps("  - explode: price"),
        ['3:14: column "price" is Int64, neither list'],
    ),
    "a name twice": (
        steps("  - rename: {price: auction}"),
        ['3:21: two columns would be called "auction"'],
    ),
    "a rule": (steps("  - validate: {low: prize > 1}"), ['3:21: rule "low": there is no column "prize"']),
    "agg missing": (steps("  - {group_by_dynamic: time, every: 10s}"), ['3:5: "agg" is missing']),
    "every missing": (steps("  - {group_by_dynamic: time, agg: {n: COUNT(*)}}"), ['3:5: "every" is missing']),
    "index is unknown": (
        steps("  - {group_by_dynamic: tim, every: 10s, agg: {n: COUNT(*)}}"),
        ['3:24: there is no column "tim"'],
    ),
    "closed": (
        steps("  - {group_by_dynamic: time, every: 10s, closed: right, agg: {n: COUNT(*)}}"),
        ["3:50: closed="],
    ),
    "group_by": (
        steps("  - {group_by_dynamic: time, every: 10s, group_by: [auction, aution], agg: {n: COUNT(*)}}"),
        ['3:62: there is no column "aution"'],
    ),
    "unknown column of an aggregation": (
        steps("  - {group_by_dynamic: time, every: 10s, agg: {n: COUNT(*), m: MAX(prize)}}"),
        ['3:64: there is no column "prize"'],
    ),
    "an aggregation twice": (
        steps("  - {group_by_dynamic: time, every: 10s, agg: [COUNT(*) AS n, MAX(price) AS n]}"),
        ['3:63: two columns would be called "n"\n  hint: give one another name: … AS name'],
    ),
    "late without windows": (IN + OUT + "late: {parquet: late}\n", ["3:7: there is no window upstream"]),
    "dead letters of nothing": (IN + OUT + "dead_letters: {parquet: bad}\n", ["3:15: "]),
    "output is a file": (IN + "sinks: {parquet: bids.parquet}\n", ["2:18: bids.parquet names a file"]),
    "no output format": (
        IN + "sinks:\n  - parket: out\n",
        [f'3:5: there is no output "parket"\n  choices: {OUTPUTS}\n  hint: did you mean "parquet"?'],
    ),
    "not a choice of an output": (
        IN + "sinks: {parquet: out, compression: zst}\n",
        ['2:36: compression: "zst" is not one of its choices'],
    ),
    "a level that is none": (
        IN + "sinks: {parquet: out, compression: zstd, compression_level: 99}\n",
        ["2:61: compression_level=99 is not between"],
    ),
    "nearest key of a mapping": (
        IN + "sinks: {parquet: out, partition_by: {kye: channel}}\n",
        ['2:38: unknown key "kye"\n  choices: key, include_key, max_rows_per_file'],
    ),
    "nearest key of metadata": (
        steps("  - with_metadata: {fil: path}"),
        ['3:21: unknown key "fil"\n  choices: file, row, processing_time, batch\n'],
    ),
    "one folder for two outputs": (
        IN + "sinks: [{parquet: out}, {ipc: out/}]\n",
        ["2:31: the output of line 2 has this folder already"],
    ),
    "checkpoint_every": (
        IN + OUT + "run: {checkpoint_every: soon}\n",
        [
            (
                '3:25: checkpoint_every: "soon" is not a duration\n'
                '  hint: write a duration such as "10s" or "1h30m", or a whole number'
            )
        ],
    ),
    "threads": (
        IN + OUT + "run: {threads: 0}\n",
        ["3:16: threads=0 is not a number of threads between 1 and"],
    ),
    "memory_limit": (IN + OUT + "run: {memory_limit: 2GX}\n", ["3:21: memory_limit='2GX' is not a size"]),
    "batch_rows": (
        IN + OUT + "run: {batch_rows: few}\n",
        ['3:19: batch_rows: "few" is not a whole number or "auto"'],
    ),
    "run is a list": (IN + OUT + "run: [1]\n", ["3:6: run: a list is not a mapping"]),
    "no YAML": ("source: [", ["1:10: this is no YAML: "]),
    "a key twice": (IN + IN + OUT, ['2:1: "source" is here twice: first in line 1']),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_mistake_is_told_at_its_place(mistakes, text, expected):
    found = mistakes(text)
    assert len(found) == len(expected), found
    for one, wanted in zip(found, expected, strict=True):
        assert one.startswith(f"pipeline.yaml:{wanted}"), found


def test_all_mistakes_are_told_at_once(mistakes):
    text = """\
source:
  parquet: bids.parquet
  event_time: tim
  latenes: 5s
steps:
  - filter: prize > 100
  - with_columns:
      twice: pric * 2
      half: price / 2
  - filter: [twice > 3, hal > 1]
  - limit: x
  - drop_nulls: [half, hlf]
  - group_by_dynamic: time
    every: 10
    agg: {n: COUNT()}
sinks:
  - parquet: ${OUT}
  - parquet: out
    compression: gzp
run: {mode: overwrit, threads: 0}
"""
    places = [line.split(": ")[0].removeprefix("pipeline.yaml:") for line in mistakes(text)]
    assert places == [
        *("3:15", "4:3", "6:13", "8:14", "10:25", "11:12", "12:24"),
        *("14:12", "17:14", "19:18", "20:13", "20:32"),
    ]


def test_what_is_right_of_a_wrong_part_counts(mistakes):
    text = """\
source: {parquet: bids.parquet, event_time: time, latenes: 5s}
steps:
  - with_columns: [nosuch(price) AS a, prize AS b, price * 2 AS c]
  - filter: a > 1
  - filter: [c > 1, d > 1]
  - cast: {c: Int8}
    strict: perhaps
  - filter: [b > 1, e > 1]
  - {group_by_dynamic: time, every: 10s, agg: {n: COUNT(*), m: nosuch(c)}}
  - filter: [n > 1, m > 1, k > 1]
sinks: {parquet: out}
"""
    found = [line.split(": ")[0].removeprefix("pipeline.yaml:") for line in mistakes(text)]
    assert found == ["1:51", "3:20", "3:40", "5:21", "7:13", "8:21", "9:64", "10:28"]


def test_what_follows_from_a_mistake_is_not_told(mistakes):
    text = steps(
        "  - with_columns: {a: prize + 1}", "  - filter: a > 1", "  - {unnest: price}", "  - filter: x > 1"
    )
    assert [line.split(" ")[0] for line in mistakes(text)] == ["pipeline.yaml:3:23:", "pipeline.yaml:5:14:"]


def test_toml_has_places_too(mistakes):
    text = """\
[source]
parquet = "bids.parquet"
event_time = "time"

[[steps]]
filter = "prize > 100"

[[steps]]
group_by_dynamic = "time"
every = "10s"
closd = "left"
agg = { n = "COUNT(*)" }

[[sinks]]
parquet = "out"
compression = "zst"
"""
    found = mistakes(text, "pipeline.toml")
    assert [line.split(": ")[0] for line in found] == [
        "pipeline.toml:6:10", "pipeline.toml:11:1", "pipeline.toml:16:15",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.yaml", None, "the file cannot be read: No such file or directory"),
        (
            "pipeline.json",
            b"{}",
            "this is no pipeline file\n  hint: its name has to end in .yaml or .yml or .toml",
        ),
        ("pipeline.yamll", b"", "this is no pipeline file\n  hint: its name has to end in .yaml"),
        ("pipeline.yaml", b"\xff\xfe\x00", "the file is not UTF-8"),
        ("big.yaml", b"#" * (4 * 2**20 + 1), "the file is larger than 4,194,304 bytes"),
        ("pipeline.toml", b"a = ", "this is no TOML: Invalid value"),
    ],
)
def test_what_is_no_pipeline_file(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    (mistake,) = lint(path)
    assert str(mistake).split(": ", 1)[1] == message


def test_without_its_input_syntax_is_checked(mistakes):
    text = "source: {parquet: nowhere/*.parquet}\nsteps: [filter: prize > 1, filter: price >]\n" + OUT
    found = mistakes(text, read_input=False)
    assert [line.split(" is ")[0] for line in found] == ["pipeline.yaml:2:36: filter: price >"]


def test_load_raises_all_mistakes(write):
    path = write(steps("  - filter: prize > 1", "  - filter: pric > 1"))
    with pytest.raises(
        Exception, match=r'(?s):3:13: there is no column "prize".*:4:13: there is no column "pric"'
    ):
        load(path)


def test_lint_leaves_nothing_behind(bids, mistakes):
    assert mistakes(IN + OUT + "run: {checkpoint: state}\n") == []
    assert sorted(path.name for path in bids.iterdir()) == ["bids.parquet", "pipeline.yaml"]
