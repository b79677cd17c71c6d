"""Who may import whom: by what a fresh process really loads, and by the text of every file."""

import ast
import json
import resource
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from lakehouse_tests.house.house import child, python_files

ALLOWED = {
    "declare": set[str](),
    "quality": {"declare"},
    "delta": {"quality", "declare"},
    "ingest": {"delta", "quality", "declare"},
    "serve": {"ingest", "delta", "quality", "declare"},
    "orchestrate": {"ingest", "delta", "quality", "declare"},
}
LAYERS = ["bronze", "silver", "gold"]

ROOM_BY_ROOM = """
import json, pkgutil, sys
from importlib import import_module
loaded = {}
for name in sys.argv[1:]:
    room = import_module(name)
    for module in pkgutil.walk_packages(room.__path__, name + "."):
        import_module(module.name)
    loaded[name] = sorted(sys.modules)
print(json.dumps(loaded))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """What a fresh process has loaded after each room and those below it, all files of each."""
    rooms = [f"lakehouse.engine.{room}" for room in ("declare", "quality", "delta", "ingest", "serve")]
    said = child("-c", ROOM_BY_ROOM, *rooms)
    assert said.returncode == 0, said.stderr
    return {name.rsplit(".", 1)[1]: set(modules) for name, modules in json.loads(said.stdout).items()}


def tops(modules: set[str]) -> set[str]:
    return {each.split(".", 1)[0] for each in modules}


def test_declare_and_quality_load_neither_dagster_nor_deltalake_nor_pyarrow(loaded: dict[str, set[str]]):
    for room in ("declare", "quality"):
        assert not tops(loaded[room]) & {"dagster", "deltalake", "pyarrow", "pandas", "duckdb", "azure", "resources"}
        assert "polars" in tops(loaded[room])


def test_delta_ingest_and_serve_load_no_dagster(loaded: dict[str, set[str]]):
    for room in ("delta", "ingest", "serve"):
        assert not tops(loaded[room]) & {"dagster", "resources"}
    assert "deltalake" in tops(loaded["delta"])


@pytest.mark.parametrize("room", ["declare", "quality", "delta", "ingest", "serve"])
def test_a_room_loads_no_higher_one_and_no_business(room: str, loaded: dict[str, set[str]]):
    ours = {each for each in loaded[room] if each.startswith("lakehouse.")}
    rooms = {each.split(".")[2] for each in ours if each.startswith("lakehouse.engine.")}
    assert rooms <= {room, *ALLOWED[room]}
    assert {each.split(".")[1] for each in ours} == {"engine"}


def test_resources_load_only_declare_and_delta_of_the_engine():
    said = child("-c", ROOM_BY_ROOM, "resources")
    assert said.returncode == 0, said.stderr
    modules = json.loads(said.stdout)["resources"]
    assert {each.split(".")[2] for each in modules if each.startswith("lakehouse.engine.")} <= {"declare", "delta"}
    assert {each.split(".")[1] for each in modules if each.startswith("lakehouse.")} == {"engine"}


# ---- by the text: also what a function imports when it runs, and what only the type checker reads ----


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import names its module in full"
            yield node.module or ""
            yield from (f"{node.module}.{each.name}" for each in node.names)


def ours(tree: ast.Module) -> list[str]:
    return [each for each in imports(tree) if each.split(".")[0] in {"lakehouse", "resources", "lakehouse_tests"}]


def strangers(name: str, tree: ast.Module) -> list[str]:
    """The imports of a file that its room does not allow it."""
    parts = name.removesuffix(".py").split("/")
    if parts[:2] == ["lakehouse", "engine"] and len(parts) > 3:
        may = tuple(f"lakehouse.engine.{room}" for room in {parts[2], *ALLOWED[parts[2]]})
    elif parts[0] == "resources":
        may = ("resources", "lakehouse.engine.declare", "lakehouse.engine.delta")
    elif parts[:2] == ["lakehouse", "tables"] and len(parts) > 3:
        lower = LAYERS[: LAYERS.index(parts[2]) + 1]
        may = tuple(f"lakehouse.tables.{layer}" for layer in lower)
        return [each for each in ours(tree) if each.startswith(("lakehouse.", "resources")) and not _word(each, may)]
    elif parts[:2] == ["lakehouse", "example"]:
        may = ("lakehouse.example", "lakehouse.engine.declare")
    elif parts[:2] == ["lakehouse", "propose"]:
        rooms = ("declare", "quality", "ingest")
        may = ("lakehouse.propose", *(f"lakehouse.engine.{room}" for room in rooms))
    else:
        return []  # the front door, definitions, sensors, jobs, schedules, cli
    parents = {each.rsplit(".", count)[0] for each in may for count in (1, 2)}
    return [
        each for each in ours(tree) if not f"{each}.".startswith(tuple(f"{m}." for m in may)) and each not in parents
    ]


def _word(imported: str, may: tuple[str, ...]) -> bool:
    """A word of the front door, or something of another table's file."""
    return imported.count(".") == 1 or f"{imported}.".startswith(tuple(f"{each}." for each in may))


FILES = dict(python_files("lakehouse/", "resources/"))


def test_no_file_imports_what_its_room_may_not():
    assert {name: found for name, tree in FILES.items() if (found := strangers(name, tree))} == {}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("lakehouse/engine/declare/x.py", "from lakehouse.engine.quality.verdict import judge"),
        ("lakehouse/engine/declare/x.py", "from lakehouse.engine import delta"),
        ("lakehouse/engine/quality/x.py", "from lakehouse.engine.delta.handle import Handle"),
        ("lakehouse/engine/delta/x.py", "import lakehouse.engine.ingest.ledger"),
        ("lakehouse/engine/serve/x.py", "from lakehouse.engine.orchestrate.run import drain"),
        ("lakehouse/engine/orchestrate/x.py", "from resources.local_disk import LocalDisk"),
        ("lakehouse/engine/orchestrate/x.py", "def f():\n    from lakehouse.tables.bronze import erp_orders"),
        ("lakehouse/engine/ingest/x.py", "from lakehouse import Append"),
        ("resources/x.py", "from lakehouse.engine.quality.verdict import judge"),
        ("lakehouse/propose/x.py", "from lakehouse.engine.orchestrate.table import Table"),
        ("lakehouse/tables/silver/x.py", "from lakehouse.tables.gold.daily_sales import DailySales"),
        ("lakehouse/tables/silver/x.py", "from lakehouse.engine.declare.contract import Silver"),
        ("lakehouse/tables/silver/x.py", "from resources.local_disk import LocalDisk"),
    ],
)
def test_an_import_against_the_way_is_seen(name: str, line: str):
    assert strangers(name, ast.parse(line))


def test_only_tables_come_through_the_front_door():
    inside = [name for name in FILES if name.startswith(("lakehouse/engine/", "resources/", "lakehouse/example/"))]
    words = {name: [each for each in ours(FILES[name]) if each == "lakehouse"] for name in inside}
    assert {name for name, found in words.items() if found} == set()


# ---- the command ----

HELP = """
import json, sys
from lakehouse.cli import main
sys.argv = ["lakehouse", "--help"]
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def test_help_loads_nothing_heavy_and_is_quick():
    said = child("-c", HELP)  # leaves bytecode for the second call
    assert "Usage" in said.stdout
    assert not tops(set(json.loads(said.stderr))) & {
        "polars",
        "pandera",
        "dagster",
        "deltalake",
        "duckdb",
        "numpy",
        "azure",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "Usage" in child("-m", "lakehouse.cli", "--help").stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # the goal is half a second; a busy machine's caches make the same work dearer
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.9


@pytest.mark.skipif(find_spec("pandas") is None, reason="pandas is not installed: nothing could load it")
def test_a_contract_with_a_bound_loads_no_pandas_where_there_is_one():
    declared = "from lakehouse import Gold, column\nclass A(Gold):\n    n: int = column('A number', ge=1)\n"
    said = child("-c", f"import sys\n{declared}\nprint('pandas' in sys.modules, 'pandera' in sys.modules)")
    assert said.stdout.split() == ["False", "True"], said.stderr
