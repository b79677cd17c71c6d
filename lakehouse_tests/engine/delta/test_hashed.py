"""Rows by their hash: as many as there are rows, however alike these look, and the same wherever they are read."""

from itertools import product
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.delta.hashed import row_hash

LISTS = [None, *(list(each) for length in range(3) for each in product([None, 0, 1], repeat=length))]
STRUCTS = [None, *({"p": number, "q": text} for number, text in product([None, 0, 1], [None, "", "a"]))]


def alike() -> pl.DataFrame:
    """Every row of few values that are near each other, nested ones too; no two are equal."""
    schema = {
        "few": pl.Int64(),
        "fewer": pl.Int64(),
        "flag": pl.Boolean(),
        "text": pl.String(),
        "list": pl.List(pl.Int64()),
        "struct": pl.Struct({"p": pl.Int64(), "q": pl.String()}),
    }
    values = product([None, 0, 1], [None, 0, 1], [None, False, True], [None, "", "0", "1"], LISTS, STRUCTS)
    return pl.DataFrame(list(values), schema=schema, orient="row")


@pytest.mark.parametrize("seed", [0, 1, 2**62 - 1])
def test_no_two_of_many_rows_share_one(seed: int):
    rows = alike()
    assert rows.n_unique() == rows.height
    assert rows.select(row_hash(rows.columns, seed).n_unique()).item() == rows.height


def test_it_is_the_same_in_memory_in_pieces_from_a_file_and_streamed(tmp_path: Path):
    rows = alike()
    hashed = row_hash(rows.columns, 7).alias("hash")
    told = rows.select(hashed)
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=1_000)
    assert pl.concat([rows[:777], rows[777:]], rechunk=False).select(hashed).equals(told)
    scanned = pl.scan_parquet(tmp_path / "rows.parquet").select(hashed)
    assert scanned.collect(engine="streaming").equals(told)
    assert scanned.collect().equals(told)


def test_a_zero_is_a_zero_and_no_number_is_no_number():
    rows = pl.DataFrame({"value": [0.0, -0.0, float("nan"), -float("nan"), None]})
    zero, other, nan, negative, null = rows.select(row_hash(["value"])).to_series()
    assert zero == other
    assert nan == negative
    assert len({zero, nan, null}) == 3
