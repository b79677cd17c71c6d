"""The slice by our own rooms in one process, without Dagster: what `lakehouse run` does between Dagster's events.

Usage: python -m benchmarks.engine_only (in the environment that LAKEHOUSE_HOME and LAKEHOUSE_ENVIRONMENT name)
"""

import gc


def main() -> None:
    gc.set_threshold(100_000)  # as the command does, before what is heavy is imported

    from lakehouse import tables
    from lakehouse.engine.declare.place import Place
    from lakehouse.engine.delta.delivery import deliver
    from lakehouse.engine.delta.handle import Handle
    from lakehouse.engine.orchestrate.bronze import land
    from lakehouse.engine.orchestrate.load import tables_in
    from lakehouse.engine.orchestrate.refine import refine
    from resources.environment import load_environment, storages

    landing, lake = storages(load_environment())
    place = Place(lake=lake, landing=landing)
    for declared in (each.declaration for each in tables_in(tables)):
        if declared.is_bronze:
            work = land(declared, place)
        else:
            upstreams = {read.upstream.key: Handle.open(place.table(read.upstream)) for read in declared.reads}
            work = refine(declared, place, upstreams)
        if work.delivery:
            deliver(work.delivery)


if __name__ == "__main__":
    main()
