"""Other ways to the same tables: which of them can be had here, and why not, where one cannot.

dagster-polars and dlt have a Python environment of their own, made of benchmarks/peers.lock: none of them is among our
dependencies. DuckDB, Sail and Spark are there with those of the tests.
"""

import subprocess
import sys
import venv
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from benchmarks.cost import BUILD
from lakehouse_tests import spark

LOCK = Path(__file__).with_name("peers.lock")


@cache
def python_of_peers() -> Path | None:
    """The interpreter that has dagster-polars and dlt, made ready once; None, and loudly so, where it cannot be had."""
    folder = BUILD / "peers"
    interpreter, stamp = folder / "bin" / "python", folder / "made-of.txt"
    if stamp.exists() and stamp.read_text() == LOCK.read_text():
        return interpreter
    sys.stderr.write(f"setting up {folder} for the comparison with dagster-polars and dlt (a minute or so, once)\n")
    venv.create(folder, with_pip=True, clear=True)
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet", "install"]
    if subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", LOCK], check=False).returncode:
        sys.stderr.write("\n*** dagster-polars and dlt could not be had: THEY ARE MISSING from these figures. ***\n\n")
        return None
    stamp.write_text(LOCK.read_text())
    return interpreter


def why_no_duckdb() -> str:
    return _missing("duckdb", "duckdb_extension_delta", "duckdb_extension_icu", "pyarrow")


def why_no_sail() -> str:
    return _missing("pysail", "pyspark")


def why_no_spark() -> str:
    return spark.why_missing() or _missing("pyspark")


def _missing(*modules: str) -> str:
    missing = [name for name in modules if find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""
