"""The words a table file may use. Adding one costs a line here."""

import ast
import json
import os

import pytest

import lakehouse
from lakehouse_tests.house.house import ROOT, child

WORDS = {
    # what a table is
    "table", "Bronze", "Silver", "Gold", "Struct", "column", "check",
    # what its columns hold
    "Gbp", "Utc", "Int32", "Measure",
    # how bronze text is written
    "date_text", "local_time", "number_text", "true_false",
    # where from, how read, how written
    "Files", "Snapshots", "Limits", "JsonLines", "Json", "Csv", "Parquet", "Avro", "Excel",
    "Frame", "New", "Affected",
    "Append", "Overwrite", "ReplacePartition", "Merge", "History", "Vanished", "Quarantine",
    # on what it is made, where one machine is too small
    "Spark",
    # who reads it beside us
    "Reader",
}  # fmt: skip


def test_the_front_door_has_these_words():
    assert set(lakehouse.__all__) == WORDS
    assert dir(lakehouse) == lakehouse.__all__ == sorted(lakehouse.__all__)


def test_every_word_leads_somewhere():
    for word in WORDS:
        assert getattr(lakehouse, word).__name__ == word


def test_the_type_checker_reads_the_same_words_from_the_same_places():
    tree = ast.parse((ROOT / "lakehouse/__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    read = {each.name: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for each in node.names}
    assert read == lakehouse._WORDS
    assert {word: getattr(lakehouse, word).__module__ for word in WORDS} == read


def test_another_word_is_refused_with_those_that_there_are():
    with pytest.raises(
        AttributeError, match=r"^module 'lakehouse' has no word 'Ovrwrite'; it has Affected, Append, Avro, Bronze, "
    ):
        lakehouse.Ovrwrite  # type: ignore[attr-defined]  # noqa: B018


def test_the_front_door_is_lazy():
    said = child("-c", "import sys, json, lakehouse; print(json.dumps([m for m in sys.modules if '.' not in m]))")
    assert not set(json.loads(said.stdout)) & {"polars", "pandera", "dagster", "deltalake"}


@pytest.mark.parametrize(
    ("set_by_hand", "arenas", "decay", "shared"), [("", os.cpu_count(), 10000, 262144), ("narenas:3", 3, 500, 8388608)]
)
def test_polars_is_told_how_to_allocate_unless_somebody_has(
    monkeypatch: pytest.MonkeyPatch, *, set_by_hand: str, arenas: int, decay: int, shared: int
):
    monkeypatch.delenv("_RJEM_MALLOC_CONF", raising=False)
    if set_by_hand:
        monkeypatch.setenv("_RJEM_MALLOC_CONF", set_by_hand)
    ask = 'import os, lakehouse; os.environ["_RJEM_MALLOC_CONF"] += ",stats_print:true"; import polars'
    told = child("-c", ask).stderr
    assert f"opt.narenas: {arenas}\n" in told
    assert f"opt.dirty_decay_ms: {decay} " in told
    assert f"opt.oversize_threshold: {shared}\n" in told
