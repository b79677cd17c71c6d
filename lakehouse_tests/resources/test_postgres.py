"""Where Dagster's history is kept, and what is said when it cannot be: nowhere the password."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from lakehouse_tests.free_port import free_port
from lakehouse_tests.postgres import PASSWORD, Postgres
from resources.dagster_home import dagster_home
from resources.environment import PROJECT, SettingsError

pytestmark = pytest.mark.postgres

NAME = "DAGSTER_POSTGRES_URL"
SECRET = "gehe1m"
OPEN = """
from resources.dagster_home import open_instance
instance = open_instance()
print(instance.get_runs_count(), type(instance.run_storage).__name__)
"""
RESTARTED = """
import sys
from resources.dagster_home import open_instance
instance = open_instance()
before = instance.get_runs_count(), instance.all_asset_keys(), len(instance.all_instigator_state())
print("restart", flush=True)
sys.stdin.readline()
assert (instance.get_runs_count(), instance.all_asset_keys(), len(instance.all_instigator_state())) == before
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "production")
    return tmp_path / "home"


def child(*command: str, url: str | None = None, answer: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **({} if url is None else {NAME: url})}
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        input=answer,
        cwd=PROJECT,
    )
    printed = done.stdout + done.stderr
    assert not [each for each in (SECRET, PASSWORD, quote(PASSWORD, safe="")) if each in printed], printed
    return done


def refusal(url: str | None) -> str:
    """What `make dev` says, in one line and nothing else, where it cannot start."""
    done = child("-m", "resources.dagster_home", "--export", url=url)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def test_without_the_variable_its_name_and_the_form_of_a_url_are_said(home):
    said = refusal(None)
    assert f"{NAME} is not set. {home}/dagster/dagster.yaml names it" in said
    assert f"Set it: {NAME}=postgresql://user:password@host:5432/database" in said


@pytest.mark.parametrize(
    "url", [f"postgresql://u:1@{SECRET}@127.0.0.1/x", f"u:{SECRET}/x", f"mysql://u:{SECRET}@h/x", f"postgres://u:{SECRET}@h/x",
            f"postgresql://u:p@h:{SECRET}/x"],
)  # fmt: skip
def test_what_is_no_url_of_a_postgresql_is_refused_and_not_repeated(url):
    assert f"{NAME} holds no URL of a PostgreSQL." in refusal(url)


def test_a_server_that_does_not_answer_is_named_by_its_address():
    said = refusal(f"postgresql://u:{SECRET}@127.0.0.1:{(port := free_port())}/history")
    assert f"PostgreSQL at 127.0.0.1:{port}, database history, keeps Dagster's history and cannot be used: " in said
    assert f"Connection refused. Nothing was run. Start it, or mend what {NAME} says." in said


def test_a_password_that_is_refused_is_said_to_be(postgres: Postgres):
    assert 'password authentication failed for user "dagster".' in refusal(postgres.url.replace("not", SECRET))


def test_a_lakehouse_command_says_the_same_and_ends_with_1_or_2(home, monkeypatch):
    (home / "environments").mkdir(parents=True)
    folders = (f"  {name}: {{type: local_disk, path: {name}}}\n" for name in ("landing", "lake"))
    local = "connections:\n" + "".join(folders) + "dagster_storage: postgres\n"
    (home / "environments/shop.yaml").write_text(local)
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "shop")
    for url, exits, words in (
        (None, 2, f"{NAME} is not set."),
        (f"postgresql://u:{SECRET}@127.0.0.1:{free_port()}/x", 1, "Connection refused."),
    ):
        done = child("-m", "lakehouse.cli", "status", url=url)
        assert (done.returncode, done.stdout) == (exits, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_the_history_is_opened_in_postgresql_and_no_file_of_sqlite_is_made(home, postgres: Postgres):
    opened = child("-c", OPEN, url=postgres.new_database("opened"))
    assert (opened.returncode, opened.stdout) == (0, "0 PostgresRunStorage\n"), opened.stderr
    assert list((home / "dagster").rglob("*.db*")) == []


def test_two_that_open_it_at_once_for_the_first_time_both_do(postgres: Postgres):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), NAME: postgres.new_database("at once")}
    both = [subprocess.Popen([sys.executable, "-c", OPEN], env=environment, cwd=PROJECT) for _ in range(2)]
    assert [each.wait(60) for each in both] == [0, 0]


def test_a_server_that_was_restarted_meanwhile_is_asked_again_on_new_connections(postgres: Postgres):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), NAME: postgres.new_database("restarted")}
    with subprocess.Popen(
        [sys.executable, "-c", RESTARTED],
        env=environment, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as asking:  # fmt: skip
        assert asking.stdout
        assert asking.stdout.readline() == "restart\n"
        connected = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'restarted'"
        assert postgres.psql(connected, database="postgres").splitlines().count("t") == 3
        _, complaints = asking.communicate("\n", timeout=60)
    assert (asking.returncode, complaints) == (0, "")


def test_the_definitions_of_production_load_without_the_variable_and_without_its_driver():
    code = """
import sys
import dagster as dg
from lakehouse.definitions import lakehouse
dg.Definitions.validate_loadable(lakehouse())
assert not {each for each in sys.modules if each.partition(".")[0] in {"dagster_postgres", "psycopg2"}}
"""
    loaded = child("-c", code)
    assert loaded.returncode == 0, loaded.stderr


def test_dagsters_settings_follow_the_environment_until_they_are_edited(home, monkeypatch):
    settings = dagster_home() / "dagster.yaml"
    assert f"env: {NAME}" in settings.read_text()
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "local")
    dagster_home()
    assert "postgres" not in settings.read_text()
    settings.write_text(settings.read_text() + "# mine\n")
    dagster_home()
    assert settings.read_text().endswith("# mine\n")
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "production")
    with pytest.raises(SettingsError) as refused:
        dagster_home()
    assert f"production.yaml says dagster_storage: postgres, and {settings}, which was edited, does not." in str(
        refused.value
    )
    settings.write_text(
        settings.read_text() + str(refused.value).partition("Add to it:\n")[2].rpartition("or remove")[0]
    )
    dagster_home()
    assert "# mine\n" in settings.read_text()


def test_settings_that_an_older_version_put_there_are_put_there_anew(home, monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "local")
    settings = dagster_home() / "dagster.yaml"
    now = settings.read_text()
    before_they_were_signed = """\
# Put into Dagster's home when that is first made; edit the copy that lies there.
telemetry:
  enabled: false # Dagster's default sends usage figures to its makers
nux:
  enabled: false # the welcome dialog
"""
    settings.write_text(before_they_were_signed)
    dagster_home()
    assert settings.read_text() == now


def test_make_dev_does_not_start_a_server_that_cannot_use_its_history(tmp_path):
    """The recipe alone, with a program in the server's place."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "python").symlink_to(sys.executable)
    (bin_ / "dagster").write_text("#!/bin/sh\necho STARTED\n")
    (bin_ / "dagster").chmod(0o755)
    make = shutil.which("make")
    assert make
    started = [make, "-s", "-o", "core", "-o", "home", "dev", f"BIN={bin_}"]
    environment = {**os.environ, "PYTHONPATH": f"{PROJECT}:{':'.join(each for each in sys.path if each)}"}
    done = subprocess.run(started, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"{NAME} is not set." in done.stderr
    assert "STARTED" not in done.stdout
    local = {**environment, "LAKEHOUSE_ENVIRONMENT": "local"}
    assert (
        subprocess.run(started, cwd=PROJECT, env=local, capture_output=True, text=True, check=True).stdout
        == "STARTED\n"
    )
