"""What the tests of running servers share."""

from collections.abc import Iterator

import pytest

from lakehouse_tests.integration import dagster_dev
from lakehouse_tests.integration.dagster_dev import DagsterDev, until


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterDev]:
    """One `dagster dev` for all tests, after its first day of orders has come through by sensor and automation."""
    home = tmp_path_factory.mktemp("dev") / "home"
    dagster_dev.land_everything(home, "2010-12-01")  # before the start, so that the sensors' first look sees it
    running = dagster_dev.start(home)
    try:
        gold = home / "lake/gold/daily_sales/_delta_log/00000000000000000001.json"
        until(gold.exists, 400, what="a first day from landing to gold")
        until(running.drained, 240, what="the end of all work")
        yield running
    finally:
        left = running.stop()
    assert left == [], "Ctrl-C leaves no process"
