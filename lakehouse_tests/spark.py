"""Spark 4.2 with Delta 4.4, as a server of Spark Connect on this machine: another engine, to read and to write by."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lakehouse_tests.free_port import free_port

PROJECT = Path(__file__).parents[1]
JARS = PROJECT / "build" / "spark"
# What Spark asks of a Java since 17 (its JavaModuleOptions), so far as it is used here.
_OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs",
    "sun.security.action", "sun.util.calendar",
)  # fmt: skip
LIGHTLY = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx1g")
"""For a Java that lives for a minute."""
_CONF = {
    "spark.app.name": "lakehouse tests",
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.log.level": "WARN",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # small tables: with Spark's own numbers each statement is 50 to 200 tasks
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
}


def why_missing() -> str:
    """Why Spark cannot be started here, or nothing."""
    if not shutil.which("java"):
        return "Java is not installed: apt install default-jre-headless maven, or `make tests-core` as root"
    if not (JARS / ".made-of").exists():
        return f"{JARS.relative_to(PROJECT)} is missing: `make tests-core` brings it, by Maven"
    return ""


@dataclass
class Spark:
    """One running server, and a session of it."""

    process: subprocess.Popen[bytes]
    session: Any

    def do(self, *statements: str) -> None:
        """Carry out each statement."""
        for statement in statements:
            self.session.sql(statement)

    def ask(self, query: str) -> pl.DataFrame:
        """The rows of a query."""
        return pl.DataFrame(self.session.sql(query).toArrow())

    def rows(self, folder: str, version: int | None = None) -> pl.DataFrame:
        """All of a table, by its folder; as of a version, where one is asked for."""
        return self.ask(f"select * from delta.`{folder}`" + ("" if version is None else f" version as of {version}"))

    def rows_of_all(self, folders: Mapping[str, str]) -> dict[str, pl.DataFrame]:
        """All of each of these tables, by their names, in one query: each costs Spark a second of CPU."""
        none = dict.fromkeys(folders, "null")
        told = {name: {"of": f"'{name}'", **none, name: "struct(*)"} for name in folders}
        each = (
            f"select {', '.join(f'{what} as {column}' for column, what in told[name].items())} from delta.`{folder}`"
            for name, folder in folders.items()
        )
        rows = self.ask(" union all ".join(each))
        return {name: rows.filter(pl.col("of") == name)[name].struct.unnest() for name in folders}

    def stop(self) -> None:
        """Ends the session, and the server with it."""
        if self.session is not None:
            self.session.stop()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # it has nothing to put in order
            self.process.wait()


def start(folder: Path, seconds: float = 120, java: Sequence[str] = LIGHTLY) -> Spark:
    """Start a server that keeps what it needs in `folder`, and wait until it answers. Raises RuntimeError if not."""
    port, log = free_port(), folder / "spark.log"
    conf = {**_CONF, "spark.connect.grpc.binding.port": str(port), "spark.sql.warehouse.dir": str(folder / "warehouse")}
    conf |= {"spark.local.dir": str(folder), "java.io.tmpdir": str(folder), "derby.system.home": str(folder)}
    started = ["java", *java, "-Xss4m"]
    started += [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    started += ["-Djdk.reflect.useDirectMethodHandle=false", *(f"-D{name}={value}" for name, value in conf.items())]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [*started, "-cp", f"{JARS}/*", "org.apache.spark.sql.connect.service.SparkConnectServer"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "SPARK_LOCAL_IP": "127.0.0.1", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    server, give_up = Spark(process, None), time.monotonic() + seconds
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > give_up:
            server.stop()
            raise RuntimeError(f"Spark did not start within {seconds:.0f} s: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)
    from pyspark.sql import SparkSession

    if not hasattr(
        main := sys.modules["__main__"], "__file__"
    ):  # as where xdist runs us: pyspark takes it for a doctest
        main.__file__ = __file__
    server.session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    return server


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0
