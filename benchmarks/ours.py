"""Run declared tables until nothing is due: `python -m benchmarks.ours PACKAGE [LANDING LAKE] [alone]`.

As `lakehouse run` does it, with Dagster and its history in DAGSTER_HOME; or (`alone`) by our rooms without Dagster,
which is all that the promises themselves cost. Without folders landing and lake are those of the environment.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.orchestrate.table import Table


def main(package: str, folders: Sequence[str], *, alone: bool) -> None:
    gc.set_threshold(100_000)  # as the command does, before what is heavy is imported
    atexit.register(gc.freeze)  # so does this
    sys.path.insert(0, os.environ.get("PATH_OF_TABLES", "."))

    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.orchestrate.load import tables_in
    from resources.environment import load_environment, storages
    from resources.local_disk import LocalDisk

    tables = tables_in(import_module(package))
    named = None if folders else storages(load_environment())
    landing, lake = (named["landing"], named["lake"]) if named else (LocalDisk(path=each) for each in folders)
    place = Place(lake=lake, landing=landing)
    import_module("lakehouse.engine.orchestrate.refine" if alone else "lakehouse.engine.orchestrate.run")
    began = time.monotonic()  # when all that is heavy is there, as in the scripts
    (_alone if alone else _with_dagster)(tables, place)
    print(f"worked {time.monotonic() - began:.3f} s")


def _with_dagster(tables: Sequence[Table], place: Place) -> None:
    import dagster as dg

    from lakehouse.engine.orchestrate.remembered import Remembered
    from lakehouse.engine.orchestrate.run import drain, run_job
    from resources.dagster_home import not_due, open_instance
    from resources.delta_io_manager import DeltaIOManager

    resources = {"landing": place.landing, "lake": place.lake, "io_manager": DeltaIOManager(lake=place.lake)}
    definitions = dg.Definitions(assets=tables, resources=resources)
    remembered = Remembered(place, not_due())
    for ran in drain(tables, place, lambda keys: run_job(definitions, keys, open_instance()), remembered):
        if ran.error:
            raise SystemExit(ran.error)


def _alone(tables: Sequence[Table], place: Place) -> None:
    from lakehouse.engine.delta.delivery import deliver
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.orchestrate.bronze import land
    from lakehouse.engine.orchestrate.refine import refine

    is_done = False
    while not is_done:  # a batch holds a part of what has landed
        is_done = True
        for declared in (each.declaration for each in tables):
            upstreams = {read.upstream.key: Handle.open(place.table(read.upstream)) for read in declared.reads}
            work = land(declared, place) if declared.is_bronze else refine(declared, place, upstreams)
            if work.refusal:
                raise SystemExit(work.refusal)
            if work.delivery:
                is_done = False
                deliver(work.delivery)
            del work  # as Dagster lets go of what a step gave, so that the next one finds the room


if __name__ == "__main__":
    words = [word for word in sys.argv[2:] if word != "alone"]
    main(sys.argv[1], words, alone="alone" in sys.argv)
