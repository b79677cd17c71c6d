"""Disks that are full, that do not answer, that do not keep: what was half written never counts."""

from __future__ import annotations

import random

import pytest

from lakehouse_tests.faults import arrivals, errors
from lakehouse_tests.faults.standing import assert_counted_once, assert_duckdb_reads_the_same, standing

ROUNDS = 2


@pytest.mark.crash
@pytest.mark.parametrize("error", errors.ALL)
def test_what_a_disk_error_left_half_written_never_counts(  # noqa: PLR0917 # fixtures
    error, workers, undisturbed, landings, seed, tmp_path
):
    """A worker meets the error again and again and goes on; then another comes for whom the disk is well."""
    [worker], met = workers(1), 0
    for number in range(ROUNDS):
        arrivals.land(tmp_path / "landing", arrivals.round_of(landings, number).all)
        ended = worker.run(tmp_path, error={"name": error, "seed": random.Random(seed + number).getrandbits(32)})
        assert ended.is_drained, ended
        met += ended.said["errors"]  # a first round may read a log only once, and be spared
    assert met
    ended = worker.run(tmp_path)
    assert ended.is_drained, ended
    assert (ended.said["delivered"], ended.said["errors"]) == (0, 0)
    assert standing(tmp_path) == undisturbed.after(worker, ROUNDS)
    assert_counted_once(tmp_path)
    assert_duckdb_reads_the_same(tmp_path)
