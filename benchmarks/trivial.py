"""Thirteen tables that pass one row on, in one run: `python -m benchmarks.trivial ours|plain FOLDER`."""

import importlib
import sys
from pathlib import Path

import dagster as dg

COPIES = 12
SENT = '''
from datetime import timedelta
from lakehouse import Append, Bronze, Files, Frame, JsonLines, column, table

class Sent(Bronze):
    """One row per document."""
    n: int = column("A number")

@table(source=Files("sent/*.jsonl", formats=JsonLines(), settle=timedelta(0)), write=Append())
def sent() -> Frame[Sent]: ...
'''
COPY = '''
from lakehouse import Append, Frame, New, Silver, column, table
from copies.sent import Sent

class Copy{i}(Silver):
    """One row per document."""
    n: int = column("A number")

@table(write=Append())
def copy_{i}(sent: New[Sent]) -> Frame[Copy{i}]:
    return sent.select("n")
'''


def ours(folder: Path) -> None:
    from lakehouse.engine.orchestrate.load import tables_in
    from resources.delta_io_manager import DeltaIOManager
    from resources.local_disk import LocalDisk

    package = folder / "copies"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sent.py").write_text(SENT)
    for number in range(COPIES):
        (package / f"copy_{number}.py").write_text(COPY.format(i=number))
    sys.path.insert(0, str(folder))
    landing, lake = LocalDisk(path=str(folder / "landing")), LocalDisk(path=str(folder / "lake"))
    landing.write("sent/one.jsonl", b'{"n": 1}\n')
    tables = tables_in(importlib.import_module("copies"))
    result = dg.materialize(
        tables, resources={"landing": landing, "lake": lake, "io_manager": DeltaIOManager(lake=lake)}
    )
    rows = result.asset_materializations_for_node("silver__copy_0")[0].metadata["dagster/row_count"].value
    if rows != 1:
        raise SystemExit(f"{rows} rows came out: the comparison is void.")


def plain() -> None:
    @dg.asset
    def sent() -> int:
        return 1

    def copy(number: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"copy_{number}")
        def one(sent: int) -> int:
            return sent

        return one

    dg.materialize([sent, *map(copy, range(COPIES))], resources={"io_manager": dg.mem_io_manager})


if __name__ == "__main__":
    ours(Path(sys.argv[2])) if sys.argv[1] == "ours" else plain()
