"""What is slow to load, in a process that forks others: nothing has been asked of it, so that a fork is safe."""

from __future__ import annotations

import gc
import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

TENDING = {"jemalloc_bg_thd", "polars-ooc-clea"}
"""Threads of Polars' allocator and of its spill files, which a child does well without."""


class Without(MetaPathFinder):
    """As pandera_alone does it, which is of the project."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in {"pandas", "pyspark"}:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


def load() -> None:
    """The libraries that every run uses; none of the project."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    sys.meta_path.insert(0, Without())
    import dagster
    import deltalake
    import hypothesis
    import obstore
    import pandera.polars

    del sys.meta_path[0]
    assert all((dagster, deltalake, hypothesis, obstore, pandera.polars))


def settle() -> None:
    """What is loaded stays: a child that looks through it would copy it, and would not have the other threads."""
    gc.collect()
    gc.freeze()
    threads = {(each / "comm").read_text().strip() for each in Path("/proc/self/task").iterdir()}
    assert len(threads - TENDING) == 1, f"{threads}: a child would not have them"
