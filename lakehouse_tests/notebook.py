"""`notebook.py file`: runs a notebook as a workspace does, which gives it `spark` and `dbutils`.

Spark is Sail's. It stands for a workspace where Sail cannot: catalogs and volumes, which are kept in the file STANDING,
and accounts that a session reaches once it was told how. What is refused is refused in Databricks' words.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

STANDING = Path(os.environ["STANDING"])
FORBIDDEN = os.environ.get("FORBIDDEN", "")
TOLD = {"environment": os.environ["ENVIRONMENT"], "home": os.environ["HOME"], "secret_scope": "lakehouse"}
SCOPE: dict[str, str] = json.loads(os.environ["SCOPE"])
ACCOUNT = re.compile(r"abfss://\w+@([\w.]+)/")


class Spark:
    """Sail's session, and what it has not."""

    def __init__(self, sail: Any) -> None:
        self._sail = sail
        self.conf = Conf(sail.conf) if FORBIDDEN else sail.conf

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sail, name)

    def sql(self, text: str) -> Any:
        verb, kind, name = text.replace(" IF NOT EXISTS", "").split(" ", 2)
        if kind not in ("CATALOG", "VOLUME"):
            return self._sail.sql(text)
        standing = json.loads(STANDING.read_text()) if STANDING.exists() else []
        if verb == "CREATE":
            if FORBIDDEN:
                said = "An error occurred while calling o42.sql.\n: "  # as py4j begins, on a cluster
                raise AnalysisException(f"{said}[INSUFFICIENT_PERMISSIONS] Insufficient privileges: CREATE {kind}")
            STANDING.write_text(json.dumps(sorted({*standing, name})))
        elif name not in standing:
            raise AnalysisException(f"[{kind}_NOT_FOUND] {name} is not there.")
        return self._sail.sql("SELECT 1")

    @property
    def read(self) -> Any:
        return Reader(self)


class Conf:
    """As of serverless, which takes no setting of storage."""

    def __init__(self, conf: Any) -> None:
        self.get = conf.get

    def set(self, name: str, value: str) -> None:
        raise AnalysisException(f"[CONFIG_NOT_AVAILABLE] Configuration {name} = {value} is not available.")


class Reader:
    def __init__(self, spark: Spark) -> None:
        self._spark, self._reader = spark, spark._sail.read

    def format(self, name: str) -> Reader:
        self._reader = self._reader.format(name)
        return self

    def load(self, path: str) -> Any:
        found = ACCOUNT.match(path)
        if found and not self._spark.conf.get(f"fs.azure.account.key.{found[1]}", None) and "raw" in found[1]:
            said = f"Failure to initialize configuration for storage account {found[1]}: Invalid configuration value"
            raise AnalysisException(said)
        return self._reader.load(path)


@dataclass
class Named:
    key: str


class Utilities:
    """`dbutils`: widgets, which a job has filled, and one scope of secrets."""

    @property
    def widgets(self) -> Utilities:
        return self

    @property
    def secrets(self) -> Utilities:
        return self

    def text(self, name: str, default: str) -> None: ...

    def get(self, name: str, key: str = "") -> str:
        return SCOPE[key] if key else TOLD[name]

    def list(self, scope: str) -> list[Named]:
        return [Named(key) for key in SCOPE] if scope == "lakehouse" else []


if __name__ == "__main__":
    given = {"spark": Spark(SparkSession.builder.getOrCreate()), "dbutils": Utilities()}
    runpy.run_path(sys.argv[1], init_globals=given, run_name="__main__")
