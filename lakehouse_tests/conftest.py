"""What every test may ask for, and what a run of the tests must say at its end."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

import lakehouse.engine.declare.pandera_alone  # noqa: F401 # first: a test that imports pandera has the one we use
from lakehouse_tests import azure_cloud as azure_clouds
from lakehouse_tests import azurite as azurites
from lakehouse_tests import postgres as postgreses
from lakehouse_tests import spark as sparks
from lakehouse_tests.azure_cloud import ACCOUNTS, Cloud
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.postgres import Postgres
from lakehouse_tests.spark import Spark

# No deadlines: on a busy machine they fail honest code. A failure prints how to repeat it.
settings.register_profile(
    "ci", deadline=None, print_blob=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("ci"), max_examples=5_000)
settings.load_profile("ci")


HOME = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """No test sees the caller's lake or settings, also no session fixture; loopback goes past any proxy."""
    for name in [name for name in os.environ if name.startswith(("LAKEHOUSE_", "DAGSTER_", "AZURE_", "AZURITE_"))]:
        del os.environ[name]
    config.stash[HOME] = os.environ["LAKEHOUSE_HOME"] = tempfile.mkdtemp(prefix="lakehouse-tests-")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[HOME], ignore_errors=True)


LONGEST = (
    "test_commands", "test_dagster_dev", "test_browser", "test_crash", "test_killed_runs", "test_edited_tables",
    "test_basket_pairs", "test_backfill", "test_no_secret_leaves", "test_on_spark", "test_whole_slice", "test_calls",
    "test_databricks", "test_postgres", "test_connections", "test_together", "test_guides", "test_new_table",
    "test_restore",
)  # fmt: skip
"""Files that take most of a minute and more."""
ONE_SERVER = ("test_dagster_dev.py", "test_browser.py")
"""Files that are run by one worker, since it is a minute until their server has brought its first day through."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no worker waits for the last file: they are handed out in this order."""

    def place(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.stem
        is_short = not {"faults", "integration", "propose"} & set(item.path.parts)
        return LONGEST.index(name) if name in LONGEST else len(LONGEST), is_short

    items.sort(key=place)


class ByServer(LoadFileScheduling):
    """A file is one worker's, and so are those together that have one server."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return ONE_SERVER[0] if file.endswith(ONE_SERVER) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return ByServer(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: half of the time a test waits for what it has started."""
    return (os.cpu_count() or 1) + 1


def nothing_may_be_left_out() -> bool:
    return os.environ.get("CI") == "true"


def leave_out(missing: str) -> None:
    """Leave the test out where something is missing, loudly; where nothing may be left out, it fails."""
    if missing and nothing_may_be_left_out():
        pytest.fail(f"CI=true and {missing}")
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A storage account that lives as long as the tests. Take a container of your own: `new_container`."""
    leave_out(azurites.why_missing())
    server = azurites.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that lives as long as the tests. Take a database of your own: `postgres.new_database(name)`."""
    leave_out(postgreses.why_missing())
    server = postgreses.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    """Spark with Delta, half a minute until its first answers: for the long tests, and one that is not."""
    leave_out(sparks.why_missing())
    server = sparks.start(tmp_path_factory.mktemp("spark"))
    yield server
    server.stop()


@pytest.fixture
def new_container(azurite: Azurite) -> Callable[[], str]:
    """Makes an empty container that no other test knows, and says its name."""

    def make() -> str:
        name = f"test-{uuid.uuid4().hex}"
        azurite.create_container(name)
        return name

    return make


@pytest.fixture(scope="session")
def whole_azure_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    leave_out(azurites.why_missing())
    with azure_clouds.started(tmp_path_factory.mktemp("azure"), ACCOUNTS) as cloud:
        yield cloud


@pytest.fixture
def azure_cloud(whole_azure_cloud: Cloud) -> Cloud:
    """Entra, vaults and the storage accounts of ACCOUNTS, as if nobody had been there before."""
    whole_azure_cloud.reset()
    return whole_azure_cloud


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = terminalreporter.stats.get("skipped", [])
    if not left_out:
        return
    terminalreporter.section("LEFT OUT", sep="*", red=True, bold=True)
    for report in left_out:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.line(f"{report.nodeid}: {reason}", red=True)
    if nothing_may_be_left_out():
        terminalreporter.line("CI=true: nothing may be left out, so this run has failed.", red=True, bold=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if nothing_may_be_left_out() and reporter and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
