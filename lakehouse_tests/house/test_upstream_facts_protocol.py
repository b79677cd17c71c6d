"""What lakehouse/engine/delta/protocol.py and foreign.py lean on in deltalake 1.6.6 and Polars 2.1."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, QueryBuilder
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, DeltaProtocolError
from deltalake.transaction import AddAction

ONCE = CommitProperties(max_commit_retries=0)
ROWS = pl.DataFrame({"id": [1, 2]})
ID = {"name": "id", "type": "long", "nullable": True, "metadata": {}}


def table(folder: Path, reader: int, writer: int, *features: str, column: Any = ID, **configuration: str) -> str:
    folder.mkdir()
    ROWS.write_parquet(folder / "ü.parquet")
    protocol: dict[str, Any] = {"minReaderVersion": reader, "minWriterVersion": writer}
    protocol |= {"readerFeatures": features} if reader == 3 else {}
    protocol |= {"writerFeatures": features} if writer == 7 else {}
    columns = json.dumps({"type": "struct", "fields": [column]})
    made = {"id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": columns}
    made |= {"partitionColumns": [], "configuration": configuration, "createdTime": 0}
    size = (folder / "ü.parquet").stat().st_size
    add = {"path": "ü.parquet", "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": True}
    log = folder / "_delta_log" / f"{0:020d}.json"
    log.parent.mkdir()
    actions = [{"commitInfo": {}}, {"protocol": protocol}, {"metaData": made}, {"add": add}]
    log.write_text("\n".join(json.dumps(each, ensure_ascii=False) for each in actions))
    return str(folder)


def commit(of: DeltaTable, schema: DeltaSchema) -> None:
    added = AddAction("more.parquet", 1, {}, 0, True, '{"numRecords":1}')
    of.create_write_transaction([added], "append", schema, commit_properties=ONCE)


@pytest.mark.parametrize("feature", ["deletionVectors", "timestampNtz"])
def test_a_feature_that_deltalake_and_polars_both_read(tmp_path, feature):
    folder = table(tmp_path / "t", 3, 7, feature)
    assert pl.scan_delta(folder).collect().equals(ROWS)
    assert QueryBuilder().register("t", DeltaTable(folder)).execute("select * from t").read_all().num_rows == 2


@pytest.mark.parametrize("feature", ["columnMapping", "v2Checkpoint", "typeWidening", "vacuumProtocolCheck"])
def test_a_feature_that_polars_refuses_by_its_name_and_deltalake_opens(tmp_path, feature):
    folder = table(tmp_path / "t", 3, 7, feature)
    assert DeltaTable(folder).protocol().reader_features == [feature]
    with pytest.raises(DeltaProtocolError, match=f"reader features .*{feature}"):
        pl.scan_delta(folder).collect()


@pytest.mark.parametrize("feature", ["catalogManaged", "somethingOfNextYear"])
def test_a_feature_that_deltalake_does_not_open(tmp_path, feature):
    with pytest.raises(DeltaError, match=r"(?i)catalog-managed|somethingOfNextYear"):
        DeltaTable(table(tmp_path / "t", 3, 7, feature))


def test_deltalake_commits_what_breaks_a_constraint_and_refuses_features_that_ask_nothing_of_it(tmp_path):
    checked = DeltaTable(table(tmp_path / "checked", 1, 3, **{"delta.constraints.small": "id < 0"}))
    commit(checked, checked.schema())
    protected = DeltaTable(table(tmp_path / "protected", 1, 7, "checkpointProtection"))
    with pytest.raises(CommitFailedError, match="checkpointProtection"):
        commit(protected, protected.schema())


def test_deltalake_overwrites_with_a_column_that_needs_a_feature_and_the_table_opens_no_more(tmp_path):
    folder = table(tmp_path / "t", 1, 2)
    naive = DeltaSchema.from_arrow(pl.Schema({"at": pl.Datetime("us")}))
    with pytest.raises(DeltaError, match="timestampNtz"):  # it has committed by then
        DeltaTable(folder).create_write_transaction([], "overwrite", naive, commit_properties=ONCE)
    with pytest.raises(DeltaError, match="timestampNtz"):
        DeltaTable(folder)


def test_add_actions_tell_paths_letter_by_letter_as_the_log_spells_them(tmp_path):
    paths = pl.DataFrame(DeltaTable(table(tmp_path / "t", 1, 2)).get_add_actions())["path"]
    assert paths.to_list() == ["ü.parquet"]


def test_deltalake_asks_for_variants_where_it_sets_a_property_of_a_table_with_deletion_vectors(tmp_path):
    marked = DeltaTable(table(tmp_path / "t", 3, 7, "deletionVectors"))
    marked.alter.set_table_properties({"delta.logRetentionDuration": "interval 200 hours"}, commit_properties=ONCE)
    assert set(marked.protocol().reader_features or []) == {"deletionVectors", "variantType"}
