"""Tables that somebody else wrote, spelled by hand as their logs are. Spark's own: test_other_engines.py."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.optimize import Aim, compact
from lakehouse.engine.delta.plan import Way
from lakehouse.engine.delta.protocol import for_readers
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.restore import prepare_restore, restore
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge, replace_slice
from lakehouse_tests.engine.delta.opening import opened

ID = {"name": "id", "type": "long", "nullable": True, "metadata": {}}
ROWS = pl.DataFrame({"id": [1, 2]})
HALF_PAST = datetime(2024, 1, 2, 4, 30, tzinfo=UTC)


def field(**said: Any) -> dict[str, Any]:
    return {**ID, **said}


def foreign(
    address: Address,
    *,
    protocol: tuple[int, int, list[str]] = (1, 2, []),
    configuration: dict[str, str] | None = None,
    schema: dict[str, Any] = ID,
    path: str = "ü.parquet",
    beside: dict[str, tuple[str, str | None]] | None = None,
    rows: pl.DataFrame = ROWS,
) -> Handle:
    """A table of one file with two rows, as its log says it. beside: columns by which it lies, their type and value."""
    reader, writer, features = protocol
    file = Path(address.uri, path.removeprefix(f"file:{address.uri}/"))
    file.parent.mkdir(parents=True, exist_ok=True)
    rows.write_parquet(file)
    asked: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": writer}
    asked |= {"readerFeatures": features} if reader == 3 else {}
    asked |= {"writerFeatures": features} if writer == 7 else {}
    lies = beside or {}
    by = [field(name=name, type=kind) for name, (kind, _) in lies.items()]
    columns = json.dumps({"type": "struct", "fields": [schema, *by]})
    table = {"id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": columns}
    table |= {"partitionColumns": [*lies], "configuration": configuration or {}, "createdTime": 0}
    values = {name: value for name, (_, value) in lies.items()}
    add = {"path": path.replace("%", "%25"), "partitionValues": values, "size": file.stat().st_size}
    add |= {"modificationTime": 0, "dataChange": True}
    actions = [{"commitInfo": {"timestamp": 0}}, {"protocol": asked}, {"metaData": table}, {"add": add}]
    log = Path(address.uri, "_delta_log", f"{0:020d}.json")
    log.parent.mkdir()
    log.write_text("\n".join(json.dumps(each, ensure_ascii=False) for each in actions))
    return opened(address)


@pytest.mark.parametrize("mode", ["name", "id"])
def test_a_table_whose_columns_are_mapped_is_not_read(address, mode):
    mapped = field(metadata={"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"})
    with pytest.raises(Unreadable, match=rf"columnMapping \(its property delta\.columnMapping\.mode is {mode}\)"):
        foreign(address, protocol=(2, 5, []), configuration={"delta.columnMapping.mode": mode}, schema=mapped)


def test_a_table_that_only_could_map_its_columns_is_read(address):
    assert foreign(address, protocol=(2, 5, [])).scan().collect().equals(ROWS)


def test_a_column_that_became_wider_is_read_where_that_is_exact(address):
    widened = {"delta.typeChanges": [{"fromType": "integer", "toType": "long"}]}
    protocol = (3, 7, ["typeWidening"])
    assert foreign(address, protocol=protocol, schema=field(metadata=widened)).scan().collect().equals(ROWS)
    to_double = {"delta.typeChanges": [{"fromType": "long", "toType": "double"}]}
    other = Address(f"{address}-2")
    with pytest.raises(Unreadable, match=r"feature typeWidening \(its column id was long and is double\)"):
        foreign(other, protocol=protocol, schema=field(type="double", metadata=to_double))


@pytest.mark.parametrize(
    ("kind", "folder", "said"),
    [
        ("timestamp", "2024-01-02 04%3A30%3A00", ("2024-01-02T04:30:00.000000Z", HALF_PAST)),
        ("timestamp", "2024-01-02 04%3A30%3A00.5", ("2024-01-02 04:30:00.5", HALF_PAST.replace(microsecond=500_000))),
        ("decimal(9,2)", "1.50", ("1.50", Decimal("1.50"))),
        ("integer", "-7", ("-7", -7)),
        ("date", "1969-12-31", ("1969-12-31", date(1969, 12, 31))),
        ("double", "-0.0", ("-0.0", -0.0)),
        ("boolean", "true", ("true", True)),
        ("string", "a%2Fb%27c %22d%22, é", ("a/b'c \"d\", é", "a/b'c \"d\", é")),
        ("string", "null", ("null", "null")),
        ("string", "__HIVE_DEFAULT_PARTITION__", (None, None)),
        ("timestamp", "__HIVE_DEFAULT_PARTITION__", (None, None)),
    ],
)  # fmt: skip
def test_the_value_of_a_folder_is_read_as_the_log_says_it(address, kind, folder, said):
    value, read = said
    rows = foreign(address, path=f"at={folder}/a.parquet", beside={"at": (kind, value)}).scan().collect()
    assert rows["at"].to_list() == [read, read]


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("timestamp", "at=2024-01-01 23%3A30%3A00", "2024-01-02T04:30:00.000000Z"),  # Spark in New York
        ("string", "at=null", None),
        ("string", "at=__HIVE_DEFAULT_PARTITION__", "__HIVE_DEFAULT_PARTITION__"),
        ("integer", "at=1", "2"),
        ("string", "when=a", "a"),
        ("binary", "at=a", "a"),
    ],
)
def test_a_folder_that_says_otherwise_than_the_log_is_not_read(address, kind, path, value):
    handle = foreign(address, path=f"{path}/a.parquet", beside={"at": (kind, value)})
    with pytest.raises(Unreadable, match=r"by at \(.*of 1 partition the folder says otherwise than the log"):
        handle.scan()


def test_a_column_of_a_folder_that_engines_spell_each_in_its_way_is_read_and_not_written(address):
    handle = foreign(address, path="größe=a/a.parquet", beside={"größe": ("string", "a")})
    rows = handle.scan().collect()
    assert rows["größe"].to_list() == ["a", "a"]
    with pytest.raises(Refused, match=r"cannot be written by folders of 'größe'.*Nothing was written"):
        prepare_append(handle, rows)
    assert opened(address).scan().collect().equals(rows)


def test_times_in_milliseconds_are_read(address):
    handle = foreign(address, schema=field(name="at", type="timestamp"))
    at = pl.Series("at", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC)])
    at.cast(pl.Datetime("ms", "UTC")).to_frame().write_parquet(Path(address.uri, "ü.parquet"))
    assert handle.scan().collect()["at"].to_list() == at.to_list()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"schema": field(type="geometry(OGC:CRS84)")}, r"a column of type geometry\(OGC:CRS84\)"),
        ({"schema": field(type="string collate UTF8_LCASE")}, "a column of type string collate UTF8_LCASE"),
        ({"protocol": (3, 7, ["collations"])}, "Delta's feature collations"),
    ],
)
def test_what_deltalake_does_not_know_is_named_and_not_taken_for_damage(address, said, why):
    with pytest.raises(Unreadable, match=f"has {why}, which is not known here: nothing was read") as told:
        foreign(address, **said)
    assert "Put its log back" not in str(told.value)


def test_files_of_another_folder_are_not_read(address, tmp_path):
    handle = foreign(address, path=f"file:{tmp_path}/elsewhere/a.parquet")
    with pytest.raises(Unreadable, match=r"holds 1 file of another folder \(file:.*a shallow clone"):
        handle.scan()


def test_what_goes_is_named_as_its_own_writer_spelled_it(address):
    overwrite(foreign(address), ROWS.head(1), {}, {})
    log = Path(address.uri, "_delta_log", f"{1:020d}.json").read_text()
    assert [each["remove"]["path"] for each in map(json.loads, log.splitlines()) if "remove" in each] == ["ü.parquet"]
    assert opened(address).scan().collect().rows() == [(1,)]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"configuration": {"delta.constraints.positive": "id > 0"}}, r"CHECK constraint positive \(id > 0\)"),
        ({"schema": field(metadata={"delta.generationExpression": "7"})}, r"generated columns \(column id\)"),
        ({"schema": field(metadata={"delta.identity.start": 1})}, r"identity columns \(column id\)"),
        ({"protocol": (1, 7, ["rowTracking", "domainMetadata"])}, "writer feature rowTracking"),
        ({"protocol": (1, 7, ["inCommitTimestamp"])}, "writer feature inCommitTimestamp"),
        ({"protocol": (1, 7, ["somethingOfNextYear"])}, "writer feature somethingOfNextYear"),
    ],
)
def test_what_our_writer_would_not_keep_is_refused_before_a_file_is_written(address, said, why):
    handle = foreign(address, **said)
    assert handle.scan().collect().equals(ROWS)
    before = sorted(Path(address.uri).rglob("*"))
    with pytest.raises(Refused, match=f"has (Delta's |the )?{why}.*Nothing was written; version 0 stands"):
        prepare_append(handle, ROWS)
    with pytest.raises(Refused, match=why):
        handle.commit([], [], {}, {})
    assert sorted(Path(address.uri).rglob("*")) == before


@pytest.mark.parametrize("feature", ["checkpointProtection", "allowColumnDefaults", "appendOnly", "changeDataFeed"])
def test_a_feature_that_asks_nothing_of_an_append_is_kept(address, feature):
    assert prepare_append(foreign(address, protocol=(1, 7, [feature])), ROWS).commit({}, {}).rows == 4


def test_an_append_only_table_is_appended_to_and_never_overwritten(address):
    handle = prepare_append(foreign(address, configuration={"delta.appendOnly": "true"}), ROWS).commit({}, {}).handle
    with pytest.raises(Refused, match=r"is append-only \(delta\.appendOnly\), and 2 files would go\. Nothing was"):
        overwrite(handle, ROWS, {}, {})
    assert opened(address).version == 1


def test_a_change_data_feed_is_not_told_of_rows_that_only_moved(address):
    handle = foreign(address, configuration={"delta.enableChangeDataFeed": "true"})
    for _ in range(2):  # of its only file, and of one of two
        with pytest.raises(Refused, match=r"change data feed \(delta\.enableChangeDataFeed\)"):
            prepare_merge(handle, pl.DataFrame({"id": [1]}), ["id"]).commit({}, {})
        with pytest.raises(Refused, match=r"change data feed"):
            replace_slice(handle, pl.DataFrame({"id": [1]}), pl.col("id") == 1, {}, {})
        handle = prepare_append(handle, pl.DataFrame({"id": [3]})).commit({}, {}).handle
    whole = overwrite(handle, ROWS, {}, {}).handle
    assert restore(prepare_restore(whole, handle.version), None).rows == 4


def test_a_change_data_feed_takes_a_merge_in_which_no_row_moves(address):
    feed = {"delta.enableChangeDataFeed": "true"}
    handle = foreign(address, protocol=(3, 7, ["deletionVectors"]), configuration=feed)
    merged = prepare_merge(overwrite(handle, ROWS, {}, {}).handle, ROWS, ["id"]).commit({}, {})
    assert (merged.plan and merged.plan.way, merged.rows) == (Way.ANEW, 2)
    for_vectors = for_readers(merged.handle, [Reader.DELTA_RS])
    merged = prepare_merge(for_vectors, ROWS.head(1), ["id"]).commit({}, {})
    assert (merged.plan and merged.plan.way, merged.rows) == (Way.VECTORS, 2)


def test_a_null_is_not_written_into_a_column_that_has_none(address):
    handle = foreign(address, schema=field(nullable=False))
    with pytest.raises(Refused, match=r"column id is NOT NULL, and it is null in 1 row"):
        prepare_append(handle, pl.DataFrame({"id": [3, None]})).commit({}, {})
    with pytest.raises(Refused, match=r"column id is NOT NULL, and it is null in 1 row"):
        prepare_append(handle.leaving_out(("id",)), pl.DataFrame({"id": [3, None]})).commit({}, {})
    assert prepare_append(handle.leaving_out(("id",)), ROWS).commit({}, {}).rows == 4


def test_a_null_of_a_column_that_is_nested_is_counted_in_what_comes_and_asked_of_no_compaction(address):
    inner = {"type": "struct", "fields": [field(name="q", nullable=False)]}
    column = field(name="s", nullable=False, type={"type": "struct", "fields": [field(name="in", type=inner)]})
    came = pl.DataFrame({"s": [{"in": {"q": 1}}, {"in": None}]})
    handle = prepare_append(foreign(address, schema=column, rows=came), came).commit({}, {}).handle
    with pytest.raises(Refused, match=r"column s is NOT NULL, and it is null in 1 row"):
        prepare_append(handle, came.clear(1)).commit({}, {})
    with pytest.raises(Refused, match=r"column s\.in\.q is NOT NULL, and it is null in 1 row"):
        prepare_append(
            handle, came.select(pl.struct(pl.struct(q=pl.lit(None, pl.Int64)).alias("in")).alias("s"))
        ).commit({}, {})
    assert compact(handle, Aim()).after.files == 1
    assert opened(address).scan().collect().equals(pl.concat([came, came]))


def test_nulls_within_a_list_are_not_counted_so_that_it_is_only_laid_together(address):
    column = field(name="l", type={"type": "array", "elementType": "long", "containsNull": False})
    handle = foreign(address, schema=column, rows=(came := pl.DataFrame({"l": [[1], [2]]})))
    with pytest.raises(Refused, match=r"column l\[\] is NOT NULL, and whether it holds a null is not counted"):
        prepare_append(handle, came).commit({}, {})
    assert handle.commit(write_files(handle, came), handle.files()["path"], {}, {}, rearranges=True).rows == 2
