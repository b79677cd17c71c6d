"""Texts that files make small are counted as they unfold in memory, whatever the batch holds; by its own process."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.ports import Address
from lakehouse_tests.engine.delta.cores import GIVES_BACK
from lakehouse_tests.engine.delta.test_plan import MERGE, merged, stored


@pytest.fixture(scope="module")
def unfolding(tmp_path_factory) -> Address:
    """Two tables of texts of 600 bytes that files make small: each is another one; or, late in a file, one of ten."""
    address = Address(str(tmp_path_factory.mktemp("unfolding") / "t"))
    no = pl.col("id")
    say = [
        pl.format("attribute {}: some words that are said of each of them;", no.hash(each) % 1_000)
        for each in range(11)
    ]
    same = pl.lit("some words that are said again and again " * 15) + (no % 10).cast(pl.String)
    frame = pl.select(id=pl.int_range(250_000))
    for name, text in {"each": pl.concat_str(say), "few": pl.when(no % 125_000 > 50_000).then(same)}.items():
        batch = stored(address / name, frame.with_columns(c0=text), 125_000, 100)
        pl.read_parquet(batch).with_columns(c0=pl.lit(None, pl.String)).write_parquet(batch)
    return address


DELETES = MERGE.replace("came, [", "came.clear(), [").replace("budget=budget", "budget=budget, deleted=came")


@pytest.mark.parametrize("script", [MERGE, DELETES], ids=["nulls", "deletes"])
@pytest.mark.parametrize("name", ["each", "few"])
def test_texts_that_files_make_small_are_counted_as_they_unfold_whatever_comes(unfolding, *, name, script):
    address = unfolding / name
    batch = Path(f"{address.uri}.batch")
    refused = merged(address, batch, 130_000_000, limited=True, script=script)
    assert "more than the 130 MB that a merge may have here" in refused.stderr
    for cores, vectors, budget in ((2, True, 130_000_000), (2, False, 350_000_000), (8, False, 400_000_000)):
        done = merged(
            address, batch, budget, limited=True, script=script, beside=GIVES_BACK, vectors=vectors, cores=cores
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        told = json.loads(done.stdout)
        assert (told["way"], told["passes"]) == (("deletion vectors", 0) if vectors else ("files anew", 2))
        assert told["took"] < told["memory"] <= budget
