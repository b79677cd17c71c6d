"""Nothing is pickled: who may write such a file has code run where it is read, and Dagster pickles unless told not to.

What an IO manager does is told from its code, whoever wrote it; none is called.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from types import CodeType, FunctionType, ModuleType
from typing import Any

import dagster as dg
from dagster._core.storage.input_manager import InputManager, InputManagerDefinition

from lakehouse.engine.declare.errors import Terminal

_PICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
_DEFINITIONS = (dg.IOManagerDefinition, InputManagerDefinition)
_OF_EVERY_RESOURCE = ("pydantic.", "dagster._config.")  # they name no pickler, and looking takes 30 ms
_MANAGERS = (*_DEFINITIONS, dg.IOManager, InputManager, dg.ConfigurableIOManagerFactory)


def unpickled(load: Callable[[], dg.Definitions]) -> Callable[[], dg.Definitions]:
    """The same definitions. Raises Terminal where an asset, a check or an op would get an IO manager that pickles.

    By a key, as its own, or Dagster's default, which it is where no io_manager is given.
    """

    @wraps(load)
    def loaded() -> dg.Definitions:
        definitions, seen = load(), set[int]()
        for owner, resources in _resources(definitions):
            for key, each in resources.items():
                if isinstance(each, _DEFINITIONS) and _pickles(each, seen):
                    raise Terminal(
                        f"{owner} would be kept by {_name(each)} (resource {key!r}), which pickles: whoever may write "
                        "such a file has code run by who reads it. Nothing was loaded. Leave out io_manager_key= and "
                        "io_manager_def=, return a pl.DataFrame or pl.LazyFrame, and let definitions.py give "
                        '"io_manager": DeltaIOManager(lake=lake); or name one that writes a plain format, or '
                        "dg.mem_io_manager."
                    )
        return definitions

    return loaded


def _resources(definitions: dg.Definitions) -> Iterator[tuple[str, Mapping[str, dg.ResourceDefinition]]]:
    """What Dagster hands each asset, check and job of ops when they run."""
    repository = definitions.get_repository_def()
    for each in repository.asset_graph.assets_defs:
        names = [key.to_user_string() for key in each.keys]
        names += [f"the check {key.name} of {key.asset_key.to_user_string()}" for key in each.check_keys]
        yield ", ".join(sorted(names)[:3]), each.resource_defs
    woken = [*(definitions.schedules or ()), *(definitions.sensors or ())]
    targets = [target for each in woken for target in getattr(each, "targets", None) or [getattr(each, "target", None)]]
    for job in [*(definitions.jobs or ()), *(getattr(target, "resolvable_to_job", None) for target in targets)]:
        if isinstance(job, dg.JobDefinition):
            yield f"What the ops of job {job.name} give", repository.get_job(job.name).resource_defs


def _name(manager: dg.ResourceDefinition) -> str:
    return getattr(_made_by(manager), "__qualname__", "an IO manager")


def _made_by(manager: dg.ResourceDefinition) -> Any:
    return getattr(manager, "configurable_resource_cls", None) or manager.resource_fn


def _pickles(part: Any, seen: set[int]) -> bool:
    """Whether a pickler is named in the code of an IO manager, or in what that names of its module, or others of it."""
    if id(part) in seen:
        return False
    seen.add(id(part))
    further: list[Any] = []
    if isinstance(part, dg.ResourceDefinition):
        further = [_made_by(part), *getattr(part, "nested_resources", {}).values()]
    elif isinstance(part, type):
        own = [each for each in part.__mro__ if not each.__module__.startswith(_OF_EVERY_RESOURCE)]
        further = [getattr(value, "__func__", value) for each in own for value in vars(each).values()]
    elif isinstance(part, FunctionType):
        named = list(_named(part))
        if _PICKLERS & {_module(each).partition(".")[0] for each in named}:
            return True
        further = [each for each in named if _module(each) == part.__module__ or _is_manager(each)]
        further += [cell.cell_contents for cell in part.__closure__ or ()]
    elif _is_manager(part):
        further = [type(part)]
    return any(_pickles(each, seen) for each in further)


def _is_manager(part: Any) -> bool:
    return isinstance(part, _MANAGERS) or (isinstance(part, type) and issubclass(part, _MANAGERS))


def _module(part: Any) -> str:
    return part.__name__ if isinstance(part, ModuleType) else str(getattr(part, "__module__", ""))


def _named(function: FunctionType) -> Iterator[Any]:
    """What a function finds by name: in its module, in those that it imports itself, and a module's own by a dot."""
    codes = [function.__code__]
    for code in codes:
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
        steps = list(dis.get_instructions(code))
        imports = [str(each.argval) for each in steps if each.opname == "IMPORT_NAME"]
        modules = [sys.modules.get(name) or ModuleType(name) for name in imports]
        loaded = {each.argval for each in steps if each.opname == "LOAD_GLOBAL"} & function.__globals__.keys()
        found = [function.__globals__[name] for name in loaded] + modules
        yield from found
        for module in (each for each in found if isinstance(each, ModuleType)):
            yield from (vars(module)[name] for name in code.co_names if name in vars(module))
