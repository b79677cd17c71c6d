"""Load a package of tables as Dagster's code server does: `python -m benchmarks.location PACKAGE`."""

import gc
import os
import sys
from importlib import import_module

if __name__ == "__main__":
    gc.set_threshold(100_000)
    sys.path.insert(0, os.environ["PATH_OF_TABLES"])

    import dagster as dg

    from lakehouse.engine.orchestrate.load import tables_in
    from resources.delta_io_manager import DeltaIOManager
    from resources.environment import load_environment, storages

    connections = storages(load_environment())
    landing, lake = connections["landing"], connections["lake"]
    definitions = dg.Definitions(
        assets=tables_in(import_module(sys.argv[1])),
        resources={"landing": landing, "lake": lake, "io_manager": DeltaIOManager(lake=lake)},
    )
    dg.Definitions.validate_loadable(definitions)
    print(len(list(definitions.resolve_all_asset_specs())), "tables")
