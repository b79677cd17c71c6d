# Databricks notebook source
# MAGIC %md
# MAGIC # Set up a workspace for the lakehouse
# MAGIC
# MAGIC Run all cells. Each says what was there already, what it made, and what you must do where it could not; the last
# MAGIC one draws all of it as a table. Run it again as often as you like: what stands is left as it is.
# MAGIC
# MAGIC It wants Python 3.12 (serverless environment 3 or newer, or a runtime from 16.4 on), and this project as a Git
# MAGIC folder. Three parameters, as widgets above, as options of a script, or as variables:
# MAGIC
# MAGIC | widget | option | variable | |
# MAGIC | --- | --- | --- | --- |
# MAGIC | `environment` | `--environment` | `LAKEHOUSE_ENVIRONMENT` | which file; else `local` |
# MAGIC | `home` | `--home` | `LAKEHOUSE_HOME` | the folder with your own `environments/` |
# MAGIC | `secret_scope` | `--secret-scope` | | a scope: variables that are not set come from it, by name |

# COMMAND ----------

# MAGIC %md ## 1. Python, and the lakehouse

# COMMAND ----------

import re
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

BEGAN = time.monotonic()
FOUND: dict[str, tuple[str, str, str]] = {}
"""By what was looked at: ✓, ✗ or - (this session cannot say), what was found, and what to do next."""
CHANGED: list[str] = []
HIDDEN: set[str] = set()
"""Secrets that an error of somebody else's might repeat."""


def note(what: str, mark: str, found: str, then: str = "") -> None:
    """Say it, and keep it for the table; a cell that is run again replaces what it said."""
    FOUND[what] = (mark, found, then)
    print(f"{mark} {what}: {found}" + (f"\n    next: {then}" if then else ""))


def stop(what: str, found: str, then: str) -> NoReturn:
    """Say what nothing further can do without, and end."""
    note(what, "✗", found, then)
    raise SystemExit(f"{what}: nothing further can be looked at without it. Next: {then}")


def first_line(error: BaseException) -> str:
    """Of what somebody else's error says; without secrets."""
    lines = (line.strip(" :") for line in str(error).splitlines())
    empty = "An error occurred while calling"  # py4j's own words, before those of Spark
    said = next((line for line in lines if line and not line.startswith(empty)), type(error).__name__)
    for secret in HIDDEN:
        said = said.replace(secret, "***")
    return said[:300]


def install() -> str:
    """How to install what the project's lock holds, by its hashes; but for Spark, which the runtime brings."""
    root = (Path(__file__).parent if "__file__" in globals() else Path.cwd()).parent
    if not (root / "requirements-dev.lock").is_file():
        return "add the repository to the workspace as a Git folder, and run its docs/databricks_setup.py"
    packages = re.split(r"\n(?=\w)", (root / "requirements-dev.lock").read_text())
    kept = [each for each in packages if not each.startswith(("pyspark-client==", "pysail==", "pandas==", "numpy=="))]
    lock = Path(tempfile.gettempdir(), "lakehouse.lock")
    lock.write_text("\n".join(kept))
    return (
        f"%pip install --require-hashes --no-deps -r {lock}, then "
        f"%pip install --no-deps --no-build-isolation -e {root}, then dbutils.library.restartPython(), then run all"
    )


if sys.version_info[:2] != (3, 12):
    stop("Python", f"is {sys.version.split()[0]}", "take serverless environment 3 or newer, or a runtime from 16.4 on")
note("Python", "✓", f"{sys.version.split()[0]}, there already")
try:
    import deltalake
    import polars as pl
    from deltalake.exceptions import DeltaError

    from lakehouse.engine.declare.errors import LakehouseError
    from resources import config, diagnosis, engines, environment
    from resources.adls import Adls

    OURS = version("lakehouse")
except ModuleNotFoundError as missing:
    stop("lakehouse", f"{missing.name} is not installed", install())
note("lakehouse", "✓", f"{OURS}, deltalake {version('deltalake')}, there already")

# COMMAND ----------

# MAGIC %md ## 2. The environment, and what it is set to

# COMMAND ----------

import argparse
import logging
import os

dbutils: Any = globals().get("dbutils")
PARAMETERS = {
    "environment": os.environ.get("LAKEHOUSE_ENVIRONMENT", "local"),
    "home": os.environ.get("LAKEHOUSE_HOME", ""),
    "secret_scope": "",
}
if dbutils:
    for name, default in PARAMETERS.items():
        dbutils.widgets.text(name, default)
    chosen = {name: dbutils.widgets.get(name) for name in PARAMETERS}
else:
    options = argparse.ArgumentParser(description="Sets a workspace up for the lakehouse.")
    for name, default in PARAMETERS.items():
        options.add_argument(f"--{name.replace('_', '-')}", default=default)
    chosen = vars(options.parse_args())

if chosen["home"]:
    os.environ["LAKEHOUSE_HOME"] = chosen["home"]
logging.getLogger("azure").setLevel(logging.ERROR)  # what it warns of, a finding says
try:
    ENVIRONMENT = environment.load_environment(chosen["environment"])
    CONNECTIONS = environment.storages(ENVIRONMENT)
except LakehouseError as wrong:
    stop("environment", str(wrong), "mend the file, or the parameters `environment` and `home`")

if dbutils and chosen["secret_scope"]:
    for secret in dbutils.secrets.list(chosen["secret_scope"]):
        os.environ.setdefault(secret.key, dbutils.secrets.get(chosen["secret_scope"], secret.key))

SETTINGS = config.shown(chosen["environment"])
widths = [max(len(getattr(each, part)) for each in SETTINGS) for part in ("name", "value")]
for each in SETTINGS:
    print(f"  {each.name:{widths[0]}}  {each.value:{widths[1]}}  {each.origin}")
note("environment", "✓", f"{ENVIRONMENT.name}, by {ENVIRONMENT.file}: {', '.join(CONNECTIONS)}")

# COMMAND ----------

# MAGIC %md
# MAGIC ## 3. Whether the world is as the environment needs it
# MAGIC
# MAGIC What `lakehouse env check` looks at: variables, secrets, containers, certificates, the address that is seen.

# COMMAND ----------

for each in diagnosis.check(ENVIRONMENT):
    well = each.is_well
    note(each.what, "✓" if well else "✗", each.said, "" if well else "do what it says, and run this again")

# COMMAND ----------

# MAGIC %md
# MAGIC ## 4. Catalog, schema and volume
# MAGIC
# MAGIC Scripts for Spark pass through the volume that `spark.volume` names. Who runs this needs CREATE CATALOG (or an
# MAGIC existing catalog), CREATE SCHEMA and CREATE VOLUME for what is not there.

# COMMAND ----------

try:
    from pyspark.errors import (
        IllegalArgumentException,
        ParseException,
        PySparkException,
        UnsupportedOperationException,
    )
    from pyspark.sql import SparkSession
except ModuleNotFoundError:
    stop("Spark", "pyspark is not installed", "run this on Databricks, or install the extra: pip install -e '.[spark]'")
try:
    from py4j.protocol import Py4JError  # pyright: ignore[reportMissingImports] # clusters have it
except ModuleNotFoundError:
    Py4JError = PySparkException  # Spark Connect has no other
NOT_KNOWN = (ParseException, IllegalArgumentException, UnsupportedOperationException)
REFUSED = (PySparkException, Py4JError)

spark: Any = globals().get("spark") or SparkSession.builder.getOrCreate()
note("Spark", "✓", f"a session of Spark {spark.version}")


def is_there(kind: str, quoted: str) -> bool:
    try:
        spark.sql(f"DESCRIBE {kind} {quoted}").collect()
    except REFUSED:
        return False
    return True


def made(kind: str, parts: list[str]) -> None:
    """Make it where it is not there, look again, and say which of these it was."""
    what, quoted = f"{kind.lower()} {'.'.join(parts)}", ".".join(f"`{part}`" for part in parts)
    try:
        if is_there(kind, quoted):
            note(what, "✓", "there already")
            return
        spark.sql(f"CREATE {kind} IF NOT EXISTS {quoted}").collect()
        if is_there(kind, quoted):
            CHANGED.append(what)
            note(what, "✓", "made")
        else:
            note(what, "✗", "was made, and is not to be seen", f"GRANT ALL PRIVILEGES ON {kind} {quoted} TO `you`")
    except NOT_KNOWN as unknown:
        note(what, "-", f"this session knows no such thing ({first_line(unknown)})", "run this on Databricks")
    except REFUSED as refused:
        above = {"CATALOG": "METASTORE", "SCHEMA": f"CATALOG {quoted}", "VOLUME": f"SCHEMA {quoted}"}[kind]
        then = f"ask who administers it: GRANT CREATE {kind} ON {above.rpartition('.')[0] or above} TO `you`"
        note(what, "✗", f"is not there, and may not be made ({first_line(refused)})", then)


if isinstance(ENVIRONMENT.spark, environment.DatabricksWorkspace):
    PARTS = ENVIRONMENT.spark.volume.split("/")[2:5]
    for depth, kind in enumerate(("CATALOG", "SCHEMA", "VOLUME"), 1):
        made(kind, PARTS[:depth])
else:
    note("volume", "-", f"{ENVIRONMENT.file} names no workspace of Databricks", "none, or put spark: there")

# COMMAND ----------

# MAGIC %md
# MAGIC ## 5. Spark's way into each account
# MAGIC
# MAGIC Where the workspace reaches a container by rights of its own (an external location), nothing is set: keep it so.
# MAGIC Else the session is told what the environment says, for as long as it lives. No value is printed.

# COMMAND ----------


def why_not_reached(path: str) -> str:
    """What Spark says to a file that is not there; nothing where it looked, and did not find it."""
    try:
        spark.read.format("binaryFile").load(path).limit(1).collect()
    except REFUSED as refused:
        said = first_line(refused)
        return "" if "PATH_NOT_FOUND" in said or "Path does not exist" in said else said
    return ""


def let_in(connection: str, adls: Adls) -> None:
    """Set what Spark needs for one connection, where it needs anything."""
    what, path = f"Spark's way into {connection}", engines.spark_path(adls, "_lakehouse", "nothing")
    then = f"make an external location of {engines.spark_path(adls)}, which needs no setting"
    try:
        told = engines.spark_conf(adls, "databricks")
    except LakehouseError as refused:
        note(what, "✗", str(refused), "mend it as it says, and run this again")
        return
    HIDDEN.update(value for name, value in told.items() if any(word in name for word in ("key", "secret", "fixed")))
    try:
        if all(spark.conf.get(name, None) == value for name, value in told.items()):
            note(what, "✓", f"{len(told)} settings of {adls.account}, there already")
        elif not why_not_reached(path):
            note(what, "✓", "there already, by rights that the session has of its own; nothing was set")
        else:
            for name, value in told.items():
                spark.conf.set(name, value)
            CHANGED.append(what)
            said, why = f"{len(told)} settings of {adls.account} set", why_not_reached(path)
            note(what, "✗" if why else "✓", f"{said}; and yet: {why}" if why else said, then if why else "")
    except REFUSED as refused:
        note(what, "✗", f"this session takes no settings of storage ({first_line(refused)})", then)


ON_AZURE = {name: each for name, each in CONNECTIONS.items() if isinstance(each, Adls)}
for name, each in ON_AZURE.items():
    let_in(name, each)
if not ON_AZURE:
    note("Spark's way in", "-", "no connection is on Azure; folders need none")

# COMMAND ----------

# MAGIC %md
# MAGIC ## 6. A table, written and read by both
# MAGIC
# MAGIC deltalake makes a table of one row in the lake, Spark reads it and adds one, Polars reads both. Then it goes.

# COMMAND ----------

PROBE = ("_lakehouse", "setup_probe")
LAKE = CONNECTIONS["lake"]


def row(n: int, by: str) -> pl.DataFrame:
    return pl.DataFrame({"n": [n], "by": [by]}, schema={"n": pl.Int32, "by": pl.String})


def probe() -> None:
    """Raises what any of them says."""
    address = LAKE.address(*PROBE)
    place = engines.spark_path(LAKE, *PROBE) if isinstance(LAKE, Adls) else address.uri
    options = dict(address.options)
    deltalake.write_deltalake(address.uri, row(1, "deltalake"), storage_options=options)
    read = [tuple(each) for each in spark.read.format("delta").load(place).collect()]
    if read != [(1, "deltalake")]:
        note("Spark reads the lake", "✗", f"it reads {read}", "is it the same place? see the lake's settings above")
        return
    note("Spark reads the lake", "✓", "what deltalake wrote")
    sent = spark.createDataFrame([(2, "Spark")], "n int, by string")
    sent.write.format("delta").mode("append").save(place)
    stands = pl.read_delta(address.uri, storage_options=options).sort("n")
    well = stands.equals(pl.concat([row(1, "deltalake"), row(2, "Spark")]))
    found = "what deltalake and Spark wrote" if well else f"it reads {stands.rows()}"
    note("Polars reads the lake", "✓" if well else "✗", found, "" if well else "lakehouse doctor storage")


try:
    left = PROBE[1] in LAKE.folders(PROBE[0])
    LAKE.remove(*PROBE)
    try:
        probe()
    finally:
        LAKE.remove(PROBE[0])
    note("probe table", "✓", "removed again" + ("; so was one of a run that was broken off" if left else ""))
except LakehouseError as refused:
    note("probe table", "✗", str(refused), "mend it as it says, and run this again")
except REFUSED as refused:
    then = "give the workspace the lake: an external location, or a lake that Spark sees too (a folder here it may not)"
    note("probe table", "✗", f"Spark: {first_line(refused)}", then)
except (DeltaError, pl.exceptions.PolarsError, OSError) as refused:
    note("probe table", "✗", f"deltalake: {first_line(refused)}", "lakehouse doctor storage")

# COMMAND ----------

# MAGIC %md ## What was found, and what is next

# COMMAND ----------

width = max(map(len, FOUND))
print()
for what, (mark, found, then) in FOUND.items():
    print(f"{mark} {what:{width}}  {found}" + (f"\n  {'':{width}}  next: {then}" if then else ""))
count = {mark: sum(each[0] == mark for each in FOUND.values()) for mark in "✓✗-"}
print(f"\n{count['✓']} ✓, {count['✗']} ✗, {count['-']} - in {time.monotonic() - BEGAN:.0f} s.")
print(f"Changed: {', '.join(CHANGED)}." if CHANGED else "Nothing was changed: all was there already.")
if count["✗"]:
    raise SystemExit(f"{count['✗']} to do: each line with ✗ above says what is next. Then run this again.")
