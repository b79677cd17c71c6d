"""What lakehouse/engine/delta leans on in deltalake 1.6.6 and Polars 2.1. An upgrade says which fact moved."""

import json
import threading
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

ONCE = CommitProperties(max_commit_retries=0)
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def make(folder: Path, **schema) -> DeltaTable:
    columns = pl.Schema(schema or {"id": pl.Int64()})
    return DeltaTable.create(str(folder), DeltaSchema.from_arrow(columns), mode="error", commit_properties=ONCE)


def data_file(table: DeltaTable, name: str, *ids: int) -> AddAction:
    path = Path(unquote(table.table_uri.removeprefix("file://"))) / name
    pl.DataFrame({"id": ids}).write_parquet(path)
    return AddAction(name, path.stat().st_size, {}, 0, True, json.dumps({"numRecords": len(ids)}))


def commit(table: DeltaTable, *actions, properties: CommitProperties = ONCE) -> None:
    table.create_write_transaction(
        list(actions), "append", table.schema(), commit_properties=properties, post_commithook_properties=NO_HOOKS
    )


def test_a_commit_without_retries_lands_on_the_next_version_of_its_handle_or_not_at_all(tmp_path):
    mine, theirs = make(tmp_path / "t"), DeltaTable(str(tmp_path / "t"))
    commit(theirs, data_file(theirs, "a.parquet", 1))
    with pytest.raises(CommitFailedError):
        commit(mine, data_file(mine, "b.parquet", 2))
    assert DeltaTable(str(tmp_path / "t")).version() == 1


def test_without_retries_a_rewrite_is_refused_after_a_compaction_of_the_same_file(tmp_path):
    table = make(tmp_path / "t")
    commit(table, data_file(table, "a.parquet", 1))
    mine, theirs = DeltaTable(str(tmp_path / "t")), DeltaTable(str(tmp_path / "t"))
    moved = data_file(theirs, "b.parquet", 1)
    moved.data_change = False
    commit(theirs, moved, RemoveAction("a.parquet", False, 0))
    with pytest.raises(CommitFailedError):
        commit(mine, data_file(mine, "c.parquet", 1), RemoveAction("a.parquet", True, 0))


def test_on_a_version_of_which_only_a_checkpoint_tells_deltalake_commits_nothing(tmp_path):
    table = make(tmp_path / "t")
    table.create_checkpoint()
    (tmp_path / "t/_delta_log" / f"{0:020d}.json").unlink()
    for each in (table, DeltaTable(str(tmp_path / "t"))):
        with pytest.raises(DeltaError, match="Invalid table version: 0"):
            commit(each, data_file(each, "a.parquet", 1))


def test_a_table_of_which_a_feature_was_dropped_is_read_and_not_written_by_deltalake(tmp_path):
    table = make(tmp_path / "t")
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["appendOnly", "checkpointProtection"]}
    log = tmp_path / "t/_delta_log" / f"{1:020d}.json"
    log.write_text("\n".join(map(json.dumps, [{"commitInfo": {"timestamp": 0}}, {"protocol": protocol}])))
    table = DeltaTable(str(tmp_path / "t"))
    table.create_checkpoint()
    assert pl.scan_delta(table).collect().is_empty()
    with pytest.raises(CommitFailedError, match="checkpointProtection"):
        commit(table, data_file(table, "a.parquet", 1))


def test_the_handle_stays_at_its_version_after_its_own_commit(tmp_path):
    table = make(tmp_path / "t")
    commit(table, data_file(table, "a.parquet", 1))
    assert (table.version(), DeltaTable(str(tmp_path / "t")).version()) == (0, 1)


def test_a_commit_without_files_is_a_version_and_keeps_its_transactions(tmp_path):
    table = make(tmp_path / "t")
    transactions = [Transaction("orders←6f1", 2**60 - 1), Transaction("logic", 1)]
    commit(table, properties=CommitProperties(max_commit_retries=0, app_transactions=transactions))
    again = DeltaTable(str(tmp_path / "t"))
    again.create_checkpoint()
    again = DeltaTable(str(tmp_path / "t"))
    assert (again.version(), again.transaction_version("orders←6f1"), again.transaction_version("x")) == (
        1,
        2**60 - 1,
        None,
    )


def test_of_creators_without_retries_exactly_one_makes_the_table(tmp_path):
    # With the default retries 31 of 40 races of three made it two or three times, each with another table id.
    for number in range(10):
        start, made = threading.Barrier(3), []

        def create(folder=tmp_path / str(number), start=start, made=made):
            start.wait()
            try:
                made.append(make(folder))
            except DeltaError:
                return

        threads = [threading.Thread(target=create) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1
        assert len(list((tmp_path / str(number) / "_delta_log").glob("*.json"))) == 1


def test_a_missing_table_has_an_error_of_its_own(tmp_path):
    with pytest.raises(TableNotFoundError):
        DeltaTable(str(tmp_path / "t"))


def test_add_actions_tell_their_paths_encoded(tmp_path):
    table = make(tmp_path / "t")
    commit(table, data_file(table, "a b%20c.parquet", 1))
    actions = pl.DataFrame(DeltaTable(str(tmp_path / "t")).get_add_actions())
    assert actions["path"].to_list() == ["a%20b%2520c.parquet"]


def test_statistics_come_back_exactly_to_the_last_digit(tmp_path):
    table = make(tmp_path / "t", id=pl.Int64(), money=pl.Decimal(38, 3), at=pl.Datetime("us", "UTC"))
    values = {"id": 2**63 - 1, "at": "2024-01-01T01:01:01.123456Z"}
    text = json.dumps({"numRecords": 1, "minValues": values, "maxValues": values})
    text = text.replace('"id"', '"money":12345678901234567890123456789012345.678,"id"')
    commit(table, AddAction("a.parquet", 1, {}, 0, True, text))
    again = DeltaTable(str(tmp_path / "t"))
    again.create_checkpoint()
    for read in (again, DeltaTable(str(tmp_path / "t"))):
        low = pl.DataFrame(read.get_add_actions())["min"].struct.unnest().cast(pl.String).row(0, named=True)
        assert low["id"] == str(2**63 - 1)
        assert low["money"] == "12345678901234567890123456789012345.678"
        assert "01:01:01.123456" in low["at"]


def test_history_is_empty_in_a_folder_whose_name_holds_a_hash_or_a_question_mark(tmp_path):
    assert len(make(tmp_path / "t").history(1)) == 1
    assert make(tmp_path / "#t").history(1) == []
    assert make(tmp_path / "t?").history(1) == []


def test_some_keys_of_a_commits_metadata_are_deltas_own(tmp_path):
    with pytest.raises(ValueError, match="operation"):
        commit(make(tmp_path / "t"), properties=CommitProperties({"operation": "mine"}, 0))


def test_a_commit_of_no_bytes_reads_as_an_empty_one(tmp_path):
    table = make(tmp_path / "t")
    commit(table, data_file(table, "a.parquet", 1))
    (tmp_path / "t" / "_delta_log" / f"{1:020d}.json").write_bytes(b"")
    torn = DeltaTable(str(tmp_path / "t"))
    assert (torn.version(), torn.file_uris()) == (1, [])


def test_the_library_casts_on_write(tmp_path):
    write_deltalake(make(tmp_path / "t"), pl.DataFrame({"id": [2.7]}), mode="append")
    assert pl.read_parquet(tmp_path / "t" / "*.parquet")["id"].to_list() == [2]


def test_utc_keeps_the_least_protocol_and_a_wall_clock_does_not(tmp_path):
    assert make(tmp_path / "utc", at=pl.Datetime("us", "UTC")).protocol()[:2] == (1, 2)
    assert make(tmp_path / "naive", at=pl.Datetime("us")).protocol()[:2] == (3, 7)


def test_a_local_folder_with_a_percent_sign_cannot_hold_a_table(tmp_path):
    with pytest.raises(DeltaError):
        make(tmp_path / "a%20b")


def test_scan_delta_does_not_find_a_table_whose_folder_holds_a_space(tmp_path):
    table = make(tmp_path / "a b")
    commit(table, data_file(table, "x.parquet", 1))
    with pytest.raises(FileNotFoundError):
        pl.scan_delta(DeltaTable(str(tmp_path / "a b"))).collect()


def test_polars_takes_any_folder_of_the_path_for_a_partition(tmp_path):
    path = tmp_path / "a=b" / "day=1" / "x.parquet"
    path.parent.mkdir(parents=True)
    pl.DataFrame({"id": [1]}).write_parquet(path)
    with pytest.raises(pl.exceptions.SchemaFieldNotFoundError):
        pl.scan_parquet([path], hive_partitioning=True, hive_schema={"day": pl.Int64}).collect()


def sink(folder: Path, frame: pl.LazyFrame, **options) -> list[tuple[str, int]]:
    written = []
    target = pl.PartitionBy(folder, approximate_bytes_per_file=None, **options)
    frame.sink_parquet(target, mkdir=True, sinked_paths_callback=written.append)
    return [(path.path, path.num_rows) for args in written for path in args.paths]


def test_the_index_of_a_cut_file_tells_the_place_of_its_rows(tmp_path):
    name = {"file_path_provider": lambda file: f"{file.index_in_partition:06d}.parquet"}
    sink(tmp_path, pl.LazyFrame({"id": range(500)}), max_rows_per_file=7, **name)
    files = sorted(tmp_path.glob("*.parquet"))
    assert len(files) > 50
    assert pl.concat(pl.read_parquet(file) for file in files)["id"].to_list() == list(range(500))


def test_a_sink_of_no_rows_writes_a_file_of_no_rows(tmp_path):
    ((path, rows),) = sink(tmp_path, pl.LazyFrame(schema={"id": pl.Int64}), max_rows_per_file=7)
    assert (rows, Path(path).exists()) == (0, True)


def test_a_log_that_is_not_there_is_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        pl.scan_lines([tmp_path / "0.json"], glob=False).collect()
    with pytest.raises(FileNotFoundError):
        pl.scan_parquet([tmp_path / "0.parquet"], glob=False, schema={"id": pl.Int64}).select(pl.len()).collect()


def test_nan_is_beyond_every_bound_of_polars():
    assert pl.DataFrame({"x": [1.0, float("nan")]}).filter(pl.col("x") > 5).height == 1
    assert pl.Series([1.0, float("nan")]).max() == 1.0
