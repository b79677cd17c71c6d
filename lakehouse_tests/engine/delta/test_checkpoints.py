"""Checkpoints as other engines write them: under every name that Delta knows, with data files told of beside them."""

import json
import uuid
from collections.abc import Callable
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, QueryBuilder

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta import known
from lakehouse.engine.delta.check import check
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.heal import repair_checkpoints
from lakehouse.engine.delta.log import standing_at, transactions_at
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.place import LOG, POINTER, log_file
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.retention import promise
from lakehouse.engine.delta.vacuum import plan_vacuum, sweep
from lakehouse.engine.delta.writes import prepare_append
from lakehouse_tests.engine.delta.opening import opened
from lakehouse_tests.engine.delta.writing import append, merge

ABLE = (Reader.DATABRICKS,)
SCHEMA = pl.Schema({"id": pl.Int64, "name": pl.String})
V2 = {
    "minReaderVersion": 3, "readerFeatures": ["deletionVectors", "v2Checkpoint"],
    "minWriterVersion": 7, "writerFeatures": ["appendOnly", "deletionVectors", "invariants", "v2Checkpoint"],
}  # fmt: skip
WEEK = 168
_ENDS = pl.Struct({"id": pl.Int64, "name": pl.String})
_STATISTICS = pl.Struct(
    {
        "numRecords": pl.Int64,
        "minValues": _ENDS,
        "maxValues": _ENDS,
        "nullCount": pl.Struct({"id": pl.Int64, "name": pl.Int64}),
    }
)
_ADD = pl.col("add")
PARSED = pl.when(_ADD.is_not_null()).then(
    _ADD.struct.with_fields(stats_parsed=_ADD.struct.field("stats").str.json_decode(_STATISTICS))
)

type Sums = Callable[[Handle], Path]
"""Writes a checkpoint of a version, and takes away the log before it."""


def rows(*ids: int, name: str = "came") -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "name": [name] * len(ids)}, schema=SCHEMA)


def marked(address: Address) -> Handle:
    """Five files of four rows; a vector takes one row away, and the one that replaces it lies in a sixth."""
    handle = Handle.create(address, SCHEMA, readers=ABLE)
    handle = handle.commit(write_files(handle, rows(*range(20)), rows_per_file=4), [], {"reader": 7}, {})
    handle = merged(handle, rows(5, name="merged"))
    return handle.commit([], [], {}, {}, asks=lambda standing, _: (V2, standing.metadata))


def merged(handle: Handle, frame: pl.DataFrame) -> Handle:
    return merge(for_readers(handle, ABLE), frame.lazy(), ["id"], {}, {}).handle


def log_of(handle: Handle) -> Path:
    return Path(handle.address.uri, LOG)


def summing(suffix: str, *, pointed: bool = True) -> Sums:
    """suffix: what the name ends with; `*` stands for a UUID."""

    def sums(handle: Handle) -> Path:
        handle.checkpoint()
        classic = Path(log_file(handle.address, handle.version)).with_suffix(".checkpoint.parquet")
        name = classic.with_name(f"{handle.version:020d}.checkpoint.{suffix.replace('*', str(uuid.uuid4()))}")
        split(classic, name)
        for version in range(handle.version):
            Path(log_file(handle.address, version)).unlink(missing_ok=True)
        if not pointed:
            classic.with_name(POINTER).unlink()
        known.forget(handle.address)
        return name

    return sums


def split(classic: Path, name: Path) -> None:
    """A checkpoint whose data files are told of by two sidecars, with statistics as Spark keeps them there."""
    every = pl.read_parquet(classic)
    classic.unlink()
    is_of_files = pl.col("add").is_not_null() | pl.col("remove").is_not_null()
    files, sidecars = every.filter(is_of_files).select(PARSED, "remove"), classic.with_name("_sidecars")
    sidecars.mkdir(exist_ok=True)
    told = list[dict[str, object]]()
    for some in (files[:3], files[3:]):
        some.write_parquet(sidecar := sidecars / f"{uuid.uuid4()}.parquet")
        told.append({"path": sidecar.name, "sizeInBytes": sidecar.stat().st_size, "modificationTime": 0})
    beside = pl.DataFrame({"sidecar": told}, schema={"sidecar": every.schema["sidecar"]})
    top = pl.concat([every.filter(~is_of_files).drop("add", "remove"), beside], how="diagonal")
    if name.suffix == ".parquet":
        return top.write_parquet(name)
    lines = [{kind: said(body) for kind, body in row.items() if body is not None} for row in top.to_dicts()]
    name.write_text("\n".join(map(json.dumps, lines)))
    return None


def said(body: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in body.items() if value is not None}


def content(handle: Handle) -> list[tuple[object, ...]]:
    return sorted(handle.scan().collect().rows(), key=repr)


def as_deltalake_reads(address: Address) -> list[tuple[object, ...]]:
    """Its own engine, which knows v2 checkpoints and vectors."""
    table = QueryBuilder().register("t", DeltaTable(address.uri))
    return sorted(pl.DataFrame(table.execute("select id, name from t").read_all()).rows(), key=repr)


SUFFIXES = ("parquet", "*.parquet", "*.json")
FORMS = [*product(SUFFIXES, (True, False))]


@pytest.fixture(params=FORMS, ids=[f"{suffix} {'pointed to' if pointed else 'listed'}" for suffix, pointed in FORMS])
def sums(request: pytest.FixtureRequest) -> Sums:
    suffix, pointed = request.param
    return summing(suffix, pointed=pointed)


def test_the_rows_are_those_that_deltalake_reads_and_the_vectors_those_that_were(address, sums):
    before = marked(address)
    then, vectors, standing = content(before), dict(before.vectors), before.standing
    sums(before)
    after = opened(address)
    assert content(after) == as_deltalake_reads(address) == then
    assert (after.rows, dict(after.vectors), len(after.vectors)) == (20, vectors, 1)
    assert transactions_at(address, after.version)["reader"] == 7
    assert standing_at(address, after.version).metadata["configuration"] == standing.metadata["configuration"]
    assert check(after).faults == {}


def changed(handle: Handle) -> Handle:
    return merged(handle, rows(6, 30))


def compacted(handle: Handle) -> Handle:
    return compact(handle, Aim()).handle


def put_back(handle: Handle) -> Handle:
    return restore(prepare_restore(append(handle, rows(40).lazy(), {}, {}).handle, handle.version), None)


def promised(handle: Handle) -> Handle:
    return promise(handle, WEEK)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("change", "ids"),
    [(changed, [*range(20), 30]), (compacted, range(20)), (put_back, range(20)), (promised, range(20))],
)
def test_what_we_commit_upon_it_leaves_every_row_once_to_who_else_reads(address, suffix, change, ids):
    summing(suffix)(marked(address))
    after = change(opened(address))
    assert content(after) == content(opened(address)) == as_deltalake_reads(address)
    assert after.scan().collect()["id"].sort().to_list() == list(ids)
    assert "stats_parsed" not in "".join(path.read_text() for path in log_of(after).glob("*[0-9].json"))
    after.checkpoint()
    for version in range(after.version + 1):
        Path(log_file(address, version)).unlink(missing_ok=True)
    assert content(opened(address)) == as_deltalake_reads(address) == content(after)
    assert dict(opened(address).vectors) == dict(after.vectors)


def test_a_vacuum_leaves_what_the_newest_checkpoint_is_made_of_and_takes_the_names_of_older_ones(address, sums):
    handle = marked(address)
    old = sums(handle)
    for number in range(2):
        handle = append(opened(address), rows(30 + number).lazy(), {}, {}).handle
    new, sidecars = sums(handle), set(log_of(handle).glob("_sidecars/*"))
    last = append(opened(address), rows(50).lazy(), {}, {}).handle
    if not (pointer := log_of(handle) / POINTER).exists():
        assert plan_vacuum(last, 0, {}).log == {}, "who opens the table would not find it"
        pointer.write_text(json.dumps({"version": handle.version, "size": 1}))
    planned = plan_vacuum(last, 0, {})
    assert {Path(name).name for name in planned.log} == {old.name}
    sweep(planned)
    assert new.exists()
    assert set(log_of(handle).glob("_sidecars/*")) == sidecars
    assert content(opened(address)) == as_deltalake_reads(address) == content(last)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_log_stays_and_a_check_tells_where_a_sidecar_is_gone(address, suffix):
    handle = marked(address)
    top = summing(suffix)(handle)
    last = append(opened(address), rows(50).lazy(), {}, {}).handle
    sidecar = next(log_of(handle).glob("_sidecars/*"))
    sidecar.unlink()
    found = check(last)
    assert list(found.faults) == [f"{LOG}/{top.name}"]
    assert sidecar.name in found.faults[f"{LOG}/{top.name}"]
    assert found.only_sums


def test_of_several_of_one_version_any_that_is_complete_does(address):
    handle = marked(address)
    top = summing("*.json")(handle)
    for digit in "0f":
        twin = top.with_name(f"{handle.version:020d}.checkpoint.{digit * 8}-0000-0000-0000-000000000000.json")
        twin.write_text(top.read_text().replace('"sidecar": {"path": "', '"sidecar": {"path": "gone-'))
        assert standing_at(address, handle.version).adds.keys() == handle.standing.adds.keys()
        assert content(opened(address)) == as_deltalake_reads(address) == content(handle)
    aside = [path.name.split("-", 2)[2] for path in log_of(handle).glob(".torn-*")]
    assert sorted(each[33:34] for each in aside) == ["0", "f"]
    assert top.exists()


def test_one_is_made_anew_where_the_log_tells_the_same(address):
    handle = marked(address)
    commits = {path: path.read_bytes() for path in log_of(handle).glob("*.json")}
    top = summing("*.json")(handle)
    for path, content_of in commits.items():
        path.write_bytes(content_of)
    assert set(repair_checkpoints(address, "")) == {f"{LOG}/{top.name}", f"{LOG}/{POINTER}"}
    opened(address).checkpoint()
    assert (check(opened(address)).faults, content(opened(address))) == ({}, as_deltalake_reads(address))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_that_only_a_checkpoint_tells_of_is_written_to(address, suffix):
    handle = marked(address)
    summing(suffix)(handle)
    Path(log_file(address, handle.version)).unlink()
    after = prepare_append(opened(address), rows(50)).commit({}, {}).handle
    assert (after.version, after.rows) == (handle.version + 1, 21)
    assert content(opened(address)) == as_deltalake_reads(address)
