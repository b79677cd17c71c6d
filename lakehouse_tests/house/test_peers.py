from pathlib import Path

import pytest

from benchmarks import generated, side_by_side


@pytest.mark.long
@pytest.mark.parametrize("graph", ["lines", "documents"])
def test_who_is_measured_makes_the_same_tables_and_who_is_not_there_is_named(
    graph: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(side_by_side, "BUILD", tmp_path)
    monkeypatch.setattr(side_by_side, "python_of_peers", lambda: None)
    monkeypatch.setattr(side_by_side, "why_no_spark", lambda: "no Java")
    monkeypatch.setattr(generated, "INCREMENT", 2_000)
    for figures in getattr(side_by_side, graph)(rounds=1, size=20_000):
        named = [row[0] for row in figures.rows]
        assert named == [*side_by_side.NO_PEERS, "DuckDB", *(["Sail"] if graph == "lines" else [])]
        assert [note for note in figures.notes if note.startswith("VOID")] == []
        assert "MISSING: dlt: could not be installed." in figures.notes
        assert ("MISSING: Spark: no Java." in figures.notes) == (graph == "lines")
