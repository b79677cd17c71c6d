"""Tables that somebody else wrote, spelled by hand as their logs are. Spark's own: test_other_engines.py."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lakehouse.engine.declare.errors import Refused
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import Unreadable
from lakehouse.engine.delta.writes import overwrite, prepare_append, prepare_merge
from lakehouse_tests.engine.delta.opening import opened

ID = {"name": "id", "type": "long", "nullable": True, "metadata": {}}
ROWS = pl.DataFrame({"id": [1, 2]})


def field(**said: Any) -> dict[str, Any]:
    return {**ID, **said}


def foreign(
    address: Address,
    *,
    protocol: tuple[int, int, list[str]] = (1, 2, []),
    configuration: dict[str, str] | None = None,
    schema: dict[str, Any] = ID,
    path: str = "ü.parquet",
) -> Handle:
    """A table of one file with two rows, as its log says it."""
    reader, writer, features = protocol
    file = Path(address.uri, path.removeprefix(f"file:{address.uri}/"))
    file.parent.mkdir(parents=True, exist_ok=True)
    ROWS.write_parquet(file)
    asked: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": writer}
    asked |= {"readerFeatures": features} if reader == 3 else {}
    asked |= {"writerFeatures": features} if writer == 7 else {}
    columns = json.dumps({"type": "struct", "fields": [schema]})
    table = {"id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": columns}
    table |= {"partitionColumns": [], "configuration": configuration or {}, "createdTime": 0}
    add = {"path": path, "partitionValues": {}, "size": file.stat().st_size, "modificationTime": 0, "dataChange": True}
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
    handle = prepare_append(handle, pl.DataFrame({"id": [3]})).commit({}, {}).handle
    with pytest.raises(Refused, match=r"change data feed \(delta\.enableChangeDataFeed\)"):
        prepare_merge(handle, pl.DataFrame({"id": [1]}), ["id"]).commit({}, {})
    assert overwrite(handle, ROWS, {}, {}).rows == 2


def test_a_null_is_not_written_into_a_column_that_has_none(address):
    handle = foreign(address, schema=field(nullable=False))
    with pytest.raises(Refused, match=r"column id is NOT NULL, and it is null in 1 row"):
        prepare_append(handle, pl.DataFrame({"id": [3, None]})).commit({}, {})
    with pytest.raises(Refused, match="whether it holds a null is not counted"):
        prepare_append(handle.leaving_out(("id",)), ROWS).commit({}, {})
    assert prepare_append(handle, ROWS).commit({}, {}).rows == 4
