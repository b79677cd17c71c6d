from __future__ import annotations

import os
import subprocess
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import ValidationError

from resources.adls import Adls
from resources.dagster_home import dagster_home
from resources.environment import SHIPPED, SettingsError, lakehouse_home, load_environment, storages
from resources.local_disk import LocalDisk

PROJECT = Path(__file__).parents[2]
NAMES = ["local", "test", "production"]
LANDING = "connections:\n  landing: {type: local_disk, path: landing}\n"
LOCAL = LANDING + "  lake: {type: local_disk, path: lake}\n"
BY_KEY = "auth_mode: direct_key, account_key_variable: X"
ON_AZURE = LANDING + "  lake: {type: azure_adls, account: contoso, container: lake, %s}\n"

# Any socket that is opened fails the child: what loads offline asks nobody.
OFFLINE = """
import socket
def refuse(*_, **__): raise AssertionError("something asked the network")
socket.socket.connect = socket.getaddrinfo = refuse
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LAKEHOUSE_ENVIRONMENT", raising=False)
    return tmp_path / "home"


def said(home: Path, text: str, name: str = "mine") -> str:
    """What is said about an environment file of this text; it must be refused."""
    (home / "environments").mkdir(parents=True, exist_ok=True)
    (home / "environments" / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_environment(name)
    return "".join(traceback.format_exception(caught.value))


def test_the_shipped_environments_are_those_that_are_named_here():
    assert sorted(file.stem for file in SHIPPED.glob("*.yaml")) == sorted(NAMES)


def test_local_is_the_default_and_lies_below_the_home(home):
    environment = load_environment()
    assert (environment.name, environment.executor) == ("local", "in_process")
    folders = {name: LocalDisk(path=str(home / name)) for name in ("landing", "lake")}
    assert storages(environment) == folders
    assert not home.exists(), "loading makes nothing"


def test_lakehouse_environment_names_another(monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "production")
    environment = load_environment()
    assert (environment.name, environment.file) == ("production", SHIPPED / "production.yaml")
    assert all(isinstance(storage, Adls) for storage in storages(environment).values())


def test_without_lakehouse_home_all_lies_in_the_home_of_the_checkout(monkeypatch):
    monkeypatch.delenv("LAKEHOUSE_HOME")
    assert lakehouse_home() == PROJECT / "home"


def test_a_home_that_is_named_relatively_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_HOME", "here")
    assert lakehouse_home() == tmp_path / "here"


def test_a_home_in_which_sqlite_finds_no_history_is_refused_before_anything_is_made_there(monkeypatch, tmp_path):
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "which?"))
    with pytest.raises(SettingsError, match=r"which\?/dagster: to SQLite this ends .* LAKEHOUSE_HOME"):
        dagster_home()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_environment_says_the_known_ones_and_every_place_it_looked(home):
    with pytest.raises(SettingsError) as caught:
        load_environment("productoin")
    sentence = str(caught.value)
    assert "no environment 'productoin' (did you mean production?)" in sentence
    assert "Known: local, production, test." in sentence
    assert f"{home / 'environments'} and {SHIPPED}" in sentence


@pytest.mark.parametrize("name", ["../environments/local", "/etc/passwd", "a/b"])
def test_a_name_is_no_path(name):
    with pytest.raises(SettingsError, match="no environment"):
        load_environment(name)


def test_an_environment_in_the_home_is_one_more(home):
    (home / "environments").mkdir(parents=True)
    (home / "environments" / "mine.yaml").write_text(LOCAL)
    assert load_environment("mine").file == home / "environments" / "mine.yaml"


def test_an_environment_that_stands_twice_is_refused(home):
    sentence = said(home, LOCAL, name="local")
    assert "stands twice" in sentence
    assert str(home / "environments" / "local.yaml") in sentence
    assert str(SHIPPED / "local.yaml") in sentence


def test_an_unknown_key_says_the_known_ones_and_which_was_meant(home):
    sentence = said(home, LOCAL + "excutor: in_process\n")
    assert "excutor is not known (did you mean executor?)" in sentence
    assert "connections, key_vault_name, cloud, reads_from, spark, sources, upkeep, merge_memory_mb, " in sentence


def test_a_retention_of_more_than_a_hundred_years_is_refused_before_a_table_promises_it(home):
    keeps = LOCAL + "upkeep: {silver: {retention_hours: %d}}\n"
    assert "upkeep.silver.retention_hours: Input should be less than or equal to 876000." in said(home, keeps % 876_001)
    (home / "environments/mine.yaml").write_text(keeps % 876_000)
    assert load_environment("mine").upkeep["silver"].retention_hours == 876_000


def test_what_carries_out_scripts_for_spark_is_named_by_its_kind(home):
    sentence = said(home, LOCAL + "spark: {kind: sial}\n")
    assert "spark.kind must be one of sail, databricks (did you mean sail?)" in sentence
    sentence = said(home, LOCAL + "spark: {kind: databricks, host: 'https://adb-1.azuredatabricks.net', volum: /x}\n")
    assert "spark.volum is not known (did you mean volume?)" in sentence
    assert "kind, host, volume, token_variable, cluster_id, timeout_minutes" in sentence
    assert "spark.volume is missing" in sentence


def test_an_unknown_key_of_a_place_says_what_that_kind_of_place_knows(home):
    sentence = said(home, ON_AZURE % "auth_mode: direct_key, account_key_varable: X")
    assert "connections.lake.account_key_varable is not known (did you mean account_key_variable?)" in sentence
    assert "account, container, endpoint, port_variable, auth_mode, account_key_variable, account_key." in sentence


@pytest.mark.parametrize(
    "secret_key",
    [
        "key: SECRET-TEXT",
        "account_key: SECRET-TEXT==",
        "client_secret: SECRET-TEXT==",
        "endpoint: 'https://x/?sig=SECRET-TEXT'",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(home, secret_key):
    sentence = said(home, ON_AZURE % f"{BY_KEY}, {secret_key}")
    assert secret_key.partition(":")[0] in sentence
    assert "SECRET-TEXT" not in sentence


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "holds no settings"),
        ("- a\n", "holds no settings"),
        (LOCAL + "lake: {kind: local_disk, path: lake}\n", "It stands below connections: now, as connections.lake."),
        ("executor: in_process\n", "connections is missing"),
        (LANDING, "connections.lake is missing"),
        (LOCAL + "  spark: {type: local_disk, path: x}\n", "connections.spark: a connection cannot be called so"),
        (LOCAL + "  Erp: {type: local_disk, path: x}\n", "connections.Erp"),
        (LOCAL.replace("path: landing", "pat: x"), "landing.path is missing"),
        (
            LOCAL.replace("local_disk", "local_dsk", 1),
            "connections.landing.type must be one of local_disk, azure_adls (did you mean local_disk?)",
        ),
        (LOCAL.replace("type: local_disk, ", "", 1), "connections.landing.type must be one of"),
        (ON_AZURE % "secret_name: x", "connections.lake.auth_mode must be one of key_vault, direct_key, sas, "),
        (ON_AZURE % "auth_mode: keyvault", "(did you mean key_vault?)"),
        (ON_AZURE % "auth_mode: direct_key", "lake must name one of account_key_variable and account_key."),
        (ON_AZURE % "auth_mode: key_vault, secret_name: lake-key", "connections.lake.key_vault_name is missing"),
        (ON_AZURE % "auth_mode: direct_key, account_key: aGk=", "may stand in the environment `local` only"),
        (ON_AZURE % "auth_mode: sas, sas_token: sig", "(sas_token_variable)"),
        (LOCAL + "executor: threads\n", "executor: Input should be 'in_process' or 'multiprocess'"),
        (LOCAL.replace("path: landing", "path: 7"), "landing.path: Input should be a valid string"),
        (LOCAL + LOCAL, "'connections' stands twice"),
        (LOCAL.replace("path: landing", "path: landing, path: x"), "near line 2: 'path' stands twice"),
        ("landing: {kind: [\n", "near line 2"),
        ("landing: !!python/object/apply:os.getcwd []\n", "is not YAML that can be read"),
        (ON_AZURE % f"{BY_KEY}, port_variable: P", "go together"),
        (ON_AZURE % f"{BY_KEY}, endpoint: 'http://127.0.0.1:{{port}}/x'", "go together"),
        (ON_AZURE.replace("contoso", "Contoso Ltd") % BY_KEY, "lake.account must be the account's name, what stands "),
        (ON_AZURE % "auth_mode: direct_key, account_key_variable: a+key/==", "the name of a variable that holds the s"),
        (ON_AZURE % f"auth_mode: sas, sas_token_variable: {'x' * 99}", "never the secret itself"),
        (LOCAL.replace("path: landing", "path: ~/landing"), "landing.path must be a folder as it is called: ~ and $VA"),
    ],
)
def test_what_a_file_says_wrong_is_said_with_file_and_key(home, text, part):
    sentence = said(home, text)
    assert part in sentence
    assert str(home / "environments" / "mine.yaml") in sentence


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ("reads_from: nowhere\n", "There is no environment 'nowhere'"),
        ("reads_from: prod\n", "no environment 'prod' (did you mean production?)"),
        ("reads_from: prod\n", "mine.yaml names it, as reads_from."),
        ("reads_from: mine\n", "reads_from: mine is this very environment"),
        ("reads_from: local\n", "reads_from: local has the same lake, which is read from there"),
        ("sources: {bronze/x: of}\n", "Input should be 'on', 'shadow' or 'off'"),
        ("sources: {x: off}\n", "sources.x"),
    ],
)
def test_what_an_environment_says_of_others_and_of_sources_is_checked(home, more, part):
    assert part in said(home, LOCAL + more)


def test_an_environment_that_is_read_reads_none_itself(home):
    (home / "environments").mkdir(parents=True)
    (home / "environments" / "branch.yaml").write_text(LOCAL.replace("path: l", "path: b/l") + "reads_from: local\n")
    sentence = said(home, LOCAL.replace("path: l", "path: c/l") + "reads_from: branch\n")
    assert "reads_from: branch reads from local itself. Name that one." in sentence


def test_on_and_off_may_be_said_as_yaml_has_them(home):
    (home / "environments").mkdir(parents=True)
    switches = "sources: {bronze/a: off, bronze/b: on, bronze/c: shadow, bronze/d: 'off'}\n"
    (home / "environments" / "mine.yaml").write_text(LOCAL + switches)
    environment = load_environment("mine")
    assert list(environment.sources.values()) == ["off", "on", "shadow", "off"]
    lake = storages(environment)["landing"]
    assert [lake.switch(f"bronze/{name}") for name in "abcde"] == ["off", "on", "shadow", "off", "on"]


def test_a_table_of_a_connection_that_is_not_there_may_be_left_out(home):
    (home / "environments").mkdir(parents=True)
    (home / "environments" / "mine.yaml").write_text(LOCAL + "sources: {bronze/tickets: off}\n")
    environment = load_environment("mine")
    found = storages(environment, {"bronze/tickets": "shop"})
    assert found["shop"].switch("bronze/tickets") == "off"
    with pytest.raises(SettingsError, match=r"'shop'.* or leave it out here \(sources: \{bronze/others: off\}\)"):
        storages(environment, {"bronze/tickets": "shop", "bronze/others": "shop"})


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        load_environment("local").executor = "multiprocess"  # pyright: ignore[reportAttributeAccessIssue]


def test_no_shipped_environment_holds_a_default_that_points_at_azure():
    assert "azure" not in (SHIPPED / "local.yaml").read_text(encoding="utf-8")


def child(code: str, name: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` with nothing in the environment but the environment's name, and no network."""
    surroundings = {"LAKEHOUSE_ENVIRONMENT": name, "LAKEHOUSE_HOME": str(tmp_path / "elsewhere")}
    started = [sys.executable, "-c", OFFLINE + code]
    return subprocess.run(started, cwd=PROJECT, env=surroundings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_the_resources_of_every_environment_load_offline_with_an_empty_environment(name, tmp_path):
    loaded = child(
        """
import dagster as dg
from resources.environment import load_environment, storages
found = storages(load_environment())

@dg.asset(required_resource_keys={"landing", "lake"})
def table(): ...

dg.Definitions.validate_loadable(dg.Definitions([table], resources=found))
import sys
print(sorted(name for name in ("azure", "databricks") if name in sys.modules), type(found["lake"]).__name__)
""",
        name,
        tmp_path,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.split("] ")[0] == "[", "Azure's packages are loaded in the run, not with the definitions"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(find_spec("lakehouse.definitions") is None, reason="lakehouse/definitions.py is not there")
@pytest.mark.parametrize("name", NAMES)
def test_the_definitions_load_offline_in_every_environment(name, tmp_path):
    code = """
import dagster as dg
import lakehouse.definitions as location
(definitions,) = [found() for found in vars(location).values() if type(found).__name__ == "LazyDefinitions"]
dg.Definitions.validate_loadable(definitions)
print(len(definitions.resolve_all_asset_keys()))
"""
    loaded = child(code, name, tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_dagsters_home_moves_with_the_lakehouse_and_its_settings_are_left_alone(home):
    folder = dagster_home()
    assert folder == home / "dagster"
    settings = folder / "dagster.yaml"
    assert "telemetry" in settings.read_text(encoding="utf-8")
    settings.write_text("# edited\n", encoding="utf-8")
    dagster_home()
    assert settings.read_text(encoding="utf-8") == "# edited\n"


def test_dagster_takes_the_settings_of_its_home():
    code = """
import sys
import dagster as dg
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    print(instance.telemetry_enabled, instance.nux_enabled)
"""
    started = [sys.executable, "-c", code, str(dagster_home())]
    asked = subprocess.run(started, env=os.environ, capture_output=True, text=True, check=False)
    assert asked.stdout.split() == ["False", "False"], asked.stderr
