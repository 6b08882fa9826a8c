"""Killed while it follows logs that are rotated: no line is lost, none comes twice."""

from __future__ import annotations

import pytest
from system import follow_harness

SEED = 20_261_124


@pytest.mark.parametrize("pattern", ["app.log*", "app.log"])
def test_killed_at_random_instants(tmp_path, pattern):
    tally = follow_harness.kill_at_random(tmp_path, pattern, kills=10, seed=SEED)
    print(tally)
    assert min(tally.rotations.values()) > 0
    assert (tally.lost, tally.repeated) == (0, 0)


@pytest.mark.soak
@pytest.mark.parametrize("pattern", ["app.log*", "app.log"])
@pytest.mark.parametrize("seed", range(5))
def test_killed_a_thousand_times(tmp_path, pattern, seed, capsys):
    tally = follow_harness.kill_at_random(tmp_path, pattern, kills=100, seed=SEED + seed, rotate_s=1.0)
    with capsys.disabled():
        print(f"\n{pattern}: {tally}")
    assert (tally.lost, tally.repeated) == (0, 0)
