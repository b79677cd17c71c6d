"""pandera for Polars, and nothing else of it.

Where pandas or pyspark are installed (the extra `spark` brings both), pandera imports them: half a second, 100 MB, a
warning, and pyarrow, with which Polars aborts at exit (FACTS). So they are not there for it while it is imported, nor
while a check is asked for the first time, which is when it looks for them again.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder

import polars as pl


class _NotThere(MetaPathFinder):
    def find_spec(self, fullname: str, _path: Sequence[str] | None = None, _target: object = None) -> None:
        if fullname in {"pandas", "pyspark"}:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)  # pandera looks for these words


@contextmanager
def _without_pandas() -> Generator[None]:
    finder = _NotThere()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with _without_pandas():
    import pandera.polars as pa
    from pandera.api.dataframe.model_components import FieldInfo
    from pandera.api.polars.model_config import BaseConfig

    pa.Check.get_backend(pl.LazyFrame())

__all__ = ["BaseConfig", "FieldInfo", "pa"]
