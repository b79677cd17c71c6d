"""Other ways to the same tables, in a Python environment of their own: none of it is among our dependencies."""

import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.cost import BUILD

PINNED = ("dagster==1.13.27", "dagster-polars[deltalake]==0.27.12", "polars==2.1.0", "deltalake==1.6.6")


def python_of_peers() -> Path | None:
    """The interpreter that has dagster-polars, made ready once; None, and loudly so, where it cannot be had."""
    folder = BUILD / "peers"
    interpreter, stamp = folder / "bin" / "python", folder / "made-of.txt"
    if stamp.exists() and stamp.read_text() == "\n".join(PINNED):
        return interpreter
    sys.stderr.write(f"setting up {folder} for the comparison with dagster-polars (a minute or so, once)\n")
    venv.create(folder, with_pip=True, clear=True)
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet", "install", *PINNED]
    if subprocess.run(pip, check=False).returncode:
        sys.stderr.write("\n*** dagster-polars could not be installed: IT IS MISSING from these figures. ***\n\n")
        return None
    stamp.write_text("\n".join(PINNED))
    return interpreter
