from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from lakehouse.engine.declare.errors import Terminal
from lakehouse_tests import hadoop
from lakehouse_tests.azure_cloud import ACCOUNT_KEY, CONTAINER, TENANT, Cloud, Secret, account_sas
from lakehouse_tests.conftest import leave_out
from resources.adls import Adls
from resources.engines import spark_conf, spark_path, synapse_statements
from resources.environment import AUTH_MODES, load_environment, storages

IDS = f"tenant_id: {TENANT}, client_id: the-application"
# every way into the account `contosolake` that a file may name
WAYS = {
    "by_vault": "auth_mode: key_vault, secret_name: lake-key",
    "by_sas_in_vault": "auth_mode: key_vault, secret_name: lake-sas, secret_holds: sas_token",
    "by_key": "auth_mode: direct_key, account_key_variable: LAKE_KEY",
    "by_sas": "auth_mode: sas, sas_token_variable: LAKE_SAS",
    "by_principal": f"auth_mode: service_principal, {IDS}, client_secret_variable: APP_SECRET",
    "by_principal_in_vault": f"auth_mode: service_principal, {IDS}, secret_name: app-secret",
    "by_managed_identity": "auth_mode: managed_identity",
    "by_workload_identity": "auth_mode: workload_identity",
}

SALES = """
from lakehouse import Append, Bronze, Csv, Files, Frame, column, table


class Sales(Bronze):
    '''One row per sale. Source: the shop.'''

    day: str = column("When")


@table(source=Files("shop/*.csv", formats=Csv(), connection="shop"), write=Append())
def sales() -> Frame[Sales]: ...
"""


@pytest.fixture
def home(azure_cloud: Cloud, tmp_path: Path) -> Path:
    """With an environment `azure`: each way in is a connection; files land in another account."""
    azure_cloud.vaults["company-kv"] = {
        "lake-key": Secret(ACCOUNT_KEY),
        "lake-sas": Secret(account_sas("contosolake")),
        "app-secret": Secret(azure_cloud.client_secret),
        "raw-key": Secret(ACCOUNT_KEY),
    }
    ways = WAYS | {"lake": WAYS["by_managed_identity"]}
    lines = [
        f"  {name}: {{type: azure_adls, account: contosolake, container: lake, {way}}}" for name, way in ways.items()
    ]
    shop = (
        "  shop: {type: azure_adls, account: contosoraw, container: lake, auth_mode: key_vault, secret_name: raw-key}"
    )
    landing = "  landing: {type: local_disk, path: landing}"
    text = "\n".join(["key_vault_name: company-kv", "connections:", landing, shop, *lines]) + "\n"
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "azure.yaml").write_text(text)
    (tmp_path / "made" / "bronze").mkdir(parents=True)
    (tmp_path / "made" / "bronze" / "sales.py").write_text(SALES)
    (tmp_path / "federated").write_text("a token of Kubernetes")
    return tmp_path


def child(cloud: Cloud, home: Path, code: str, **variables: str) -> Any:
    """What the code of a process in the cloud prints, as JSON; it has `found`, the connections by name."""
    begun = """
        from resources.environment import load_environment, storages
        import json, os
        found = storages(load_environment("azure"))
    """
    surroundings = {
        "LAKE_KEY": ACCOUNT_KEY,
        "LAKE_SAS": "?" + account_sas("contosolake"),
        "APP_SECRET": cloud.client_secret,
        "CURL_CA_INFO": str(cloud.folder / "ca.pem"),  # DuckDB's
        "CURL_CA_PATH": str(cloud.folder),
        **cloud.identity(),
        **variables,
    }
    ended = cloud.run(textwrap.dedent(begun) + textwrap.dedent(code), home, **surroundings)
    assert ended.returncode == 0, ended.stderr[-4_000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_every_way_that_a_file_may_name_is_tried_here():
    assert {way.split(", ")[0].removeprefix("auth_mode: ") for way in WAYS.values()} == set(AUTH_MODES)


EVERY_ENGINE = """
import deltalake, duckdb, fsspec, polars as pl
from lakehouse.engine.serve import local_sql
from resources.engines import fsspec_options
said = {}
for name, adls in found.items():
    if name not in os.environ["WAYS"]:
        continue
    address = adls.address("silver", name)
    rows = pl.DataFrame({"way": [name]})
    deltalake.write_deltalake(address.uri, rows, storage_options=address.options)
    read = pl.read_delta(address.uri, storage_options=address.options)
    adls.write(f"files/{name}.csv", b"a,b")
    duck = duckdb.connect()
    local_sql._load(duck, "delta")
    local_sql._view(duck, ("silver", name), address, as_of=None)
    files = fsspec.filesystem("abfs", **fsspec_options(adls))
    said[name] = {
        "Polars and deltalake": read.item(),
        "Azure's client": [adls.read(f"files/{name}.csv").decode(), len(adls.files(f"files/{name}.csv"))],
        "DuckDB": duck.execute(f"select * from silver.{name}").fetchone()[0],
        "fsspec": files.cat(f"lake/files/{name}.csv").decode(),
    }
print(json.dumps(said))
"""


def every_engine(cloud: Cloud, home: Path, *ways: str, **variables: str) -> None:
    said = child(cloud, home, EVERY_ENGINE, WAYS=" ".join(ways), **variables)
    opened = {"Polars and deltalake": "", "Azure's client": ["a,b", 1], "DuckDB": "", "fsspec": "a,b"}
    assert said == {name: opened | {"Polars and deltalake": name, "DuckDB": name} for name in ways}
    assert cloud.refused_hosts == [], "nobody else was asked"


def test_each_way_in_opens_the_account_for_every_engine_with_one_definition(azure_cloud: Cloud, home: Path):
    others = {"AZURE_SKIP_SIGNATURE": "true", "AZURE_STORAGE_USE_EMULATOR": "true"}
    others["AZURE_STORAGE_ENDPOINT"] = "https://somebody-else.blob.core.windows.net"
    every_engine(azure_cloud, home, *(each for each in WAYS if each != "by_workload_identity"), **others)
    assert sorted(azure_cloud.of("token https://storage.azure.com")) == [
        "token https://storage.azure.com managed identity",
        "token https://storage.azure.com service principal",
    ], "each once, by however many tables and clients"


def test_workload_identity_opens_it_as_azures_webhook_tells(azure_cloud: Cloud, home: Path):
    told = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": "the-application"}
    every_engine(azure_cloud, home, "by_workload_identity", **told, AZURE_FEDERATED_TOKEN_FILE=str(home / "federated"))
    assert azure_cloud.of("token") == ["token https://storage.azure.com workload identity"]


@pytest.mark.parametrize(
    ("variable", "way"),
    [
        ("AZURE_STORAGE_TOKEN", "by_key"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "by_sas"),
        ("AZURE_CLIENT_SECRET", "by_sas"),
        ("AZURE_FEDERATED_TOKEN_FILE", "by_sas"),
    ],
)
def test_a_variable_that_would_take_the_place_of_a_connection_is_refused(
    variable: str, way: str, home: Path, monkeypatch: pytest.MonkeyPatch
):
    found = named(home, monkeypatch)
    monkeypatch.setenv(variable, "SOMEBODY-ELSE")
    with pytest.raises(Terminal, match=f"Connection '{way}': {variable} is set") as caught:
        found[way].address("t")
    assert "SOMEBODY-ELSE" not in str(caught.value)


def test_a_run_reads_csv_of_one_account_and_writes_delta_to_another(azure_cloud: Cloud, home: Path):
    said = child(
        azure_cloud,
        home,
        """
        import dagster as dg
        import sys
        sys.path.insert(0, os.environ["HOME"])
        from made.bronze.sales import sales
        from resources.delta_io_manager import DeltaIOManager
        import time
        found["shop"].write("shop/one.csv", b"day\\n2011-01-04\\n2011-01-05\\n")
        time.sleep(2.5)
        with dg.DagsterInstance.ephemeral() as instance:
            resources = {**found, "io_manager": DeltaIOManager(lake=found["lake"])}
            result = dg.materialize([sales], resources=resources, instance=instance)
        import polars as pl
        address = found["lake"].address("bronze", "sales")
        rows = pl.read_delta(address.uri, storage_options=address.options).sort("day")
        print(json.dumps([rows["day"].to_list(), address.uri, [each.name for each in found["shop"].files("shop/*")]]))
        """,
    )
    assert said == [
        ["2011-01-04", "2011-01-05"],
        "abfss://lake@contosolake.dfs.core.windows.net/bronze/sales",
        ["shop/one.csv"],
    ]
    assert [each for each in azure_cloud.of("vault") if "with token" in each] == ["vault company-kv raw-key with token"]
    assert azure_cloud.of("token https://storage") == ["token https://storage.azure.com managed identity"]


OUTLIVES = """
import time
import polars as pl
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.retention import hours_of, promise
from lakehouse.engine.delta.writes import prepare_append, prepare_merge, prepare_overwrite
row = pl.LazyFrame({"day": ["d"], "id": [1]})
handles = [Handle.create(found[way].address("silver", "outlives_" + way), row.collect_schema()) for way in PRINCIPALS]
handles = [prepare_append(each, row).commit({}, {}).handle for each in handles]
scans = [each.scan() for each in handles]
empty = [Handle.create(found[way].address("silver", "anew_" + way), row.collect_schema()) for way in PRINCIPALS]
opened = [Handle.open(each.address, each.version) for each in handles]
time.sleep(5)
read = [each.collect().rows() for each in scans]
for way, each in zip(PRINCIPALS, handles, strict=True):
    try:
        pl.read_parquet(each.address.uri + "/*.parquet", storage_options=OLD[way])
    except OSError as refused:
        assert "AuthenticationFailed" in str(refused), refused
    else:
        raise SystemExit("the store takes the first token still")
newer = row.with_columns(id=pl.lit(2, pl.Int64))
assert [each.transaction("nobody") for each in opened] == [None] * len(opened)
handles = [promise(each, 200) for each in opened]
assert [hours_of(each) for each in handles] == [200] * len(handles)
merged = [prepare_merge(each, newer, ["day"]).commit({}, {}).handle for each in handles]
alone = row.select("id")
reshaped = [prepare_overwrite(each, alone, alone.collect_schema()).commit({}, {}).handle for each in empty]
print(json.dumps([read, *([each.scan().collect().rows() for each in now] for now in (merged, reshaped))]))
"""


def test_what_is_opened_by_a_token_outlives_it(azure_cloud: Cloud, home: Path):
    azure_cloud.token_seconds, azure_cloud.stores_take_it_seconds = 303, 4
    ways = ["by_principal", "by_managed_identity"]
    known = f"PRINCIPALS = {ways}\nOLD = {{way: found[way].address('t').options for way in PRINCIPALS}}\n"
    assert child(azure_cloud, home, known + OUTLIVES) == [[[["d", 1]]] * 2, [[["d", 2]]] * 2, [[[1]]] * 2]


def named(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home))
    monkeypatch.setenv("LAKE_KEY", ACCOUNT_KEY)
    monkeypatch.setenv("LAKE_SAS", "?sv=1&sig=SIGNATURE")
    monkeypatch.setenv("APP_SECRET", "it's secret")
    return storages(load_environment("azure"))


def test_spark_is_told_by_the_names_of_hadoops_driver(home: Path, monkeypatch: pytest.MonkeyPatch):
    found = named(home, monkeypatch)
    host = "contosolake.dfs.core.windows.net"
    assert spark_path(found["by_key"], "silver", "orders") == f"abfss://lake@{host}/silver/orders"
    by_key = {f"fs.azure.account.auth.type.{host}": "SharedKey", f"fs.azure.account.key.{host}": ACCOUNT_KEY}
    assert spark_conf(found["by_key"]) == by_key
    by_sas = {f"fs.azure.account.auth.type.{host}": "SAS", f"fs.azure.sas.fixed.token.{host}": "sv=1&sig=SIGNATURE"}
    assert spark_conf(found["by_sas"]) == by_sas
    of_databricks = "org.apache.hadoop.fs.azurebfs.sas.FixedSASTokenProvider"
    by_sas |= {f"fs.azure.sas.token.provider.type.{host}": of_databricks}
    assert spark_conf(found["by_sas"], "databricks") == by_sas
    by_principal = spark_conf(found["by_principal"])
    assert by_principal[f"fs.azure.account.oauth2.client.secret.{host}"] == "it's secret"
    assert by_principal[f"fs.azure.account.oauth2.client.endpoint.{host}"].endswith(f"{TENANT}/oauth2/token")
    identity = spark_conf(found["by_managed_identity"])
    assert set(identity.values()) == {"OAuth", "org.apache.hadoop.fs.azurebfs.oauth2.MsiTokenProvider"}


def test_spark_is_not_told_of_a_workload_that_nothing_names(home: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Terminal, match=r"workload_identity needs tenant_id, client_id and token_file"):
        spark_conf(named(home, monkeypatch)["by_workload_identity"])


OURS = """
import deltalake, polars as pl
from resources.adls import Adls
from resources.engines import spark_conf, spark_path
here, china = {"account": "contosolake", "container": "lake"}, {"auth_mode": "workload_identity"}
found["china"] = Adls(**here, cloud="china", auth=china, connection="china")
chosen = {name: found[name] for name in os.environ["WAYS"].split()}
addresses = {name: [adls.address("gold", way) for way in (name, f"{name}_again")] for name, adls in chosen.items()}
"""
WRITTEN = """
for name, (ours, _) in addresses.items():
    deltalake.write_deltalake(ours.uri, pl.DataFrame({"way": [name]}), storage_options=dict(ours.options))
paths = {name: [spark_path(adls, "gold", way) for way in (name, f"{name}_again")] for name, adls in chosen.items()}
print(json.dumps({name: [spark_conf(adls), *paths[name]] for name, adls in chosen.items()}))
"""
READ = """
read = {name: pl.read_delta(its.uri, storage_options=dict(its.options)) for name, (_, its) in addresses.items()}
print(json.dumps({name: rows["way"].to_list() for name, rows in read.items()}))
"""


def copied_by_hadoop(cloud: Cloud, home: Path, *ways: str, **variables: str) -> set[str]:
    """A table that we wrote Hadoop reads and writes again, and we read that; each by the same way in.

    What Hadoop asked of the cloud beside its storage.
    """
    leave_out(hadoop.why_missing())
    told = child(cloud, home, OURS + WRITTEN, WAYS=" ".join(ways), **variables)
    cloud.asked.clear()
    for name, (conf, ours, its) in told.items():
        ended = hadoop.shell(cloud, home / name, conf, "-cp", ours, its)
        assert ended.returncode == 0, f"{name}: {ended.stderr}"
    assert set(told) == set(ways)
    by_hadoop = set(cloud.asked)
    assert child(cloud, home, OURS + READ, WAYS=" ".join(ways), **variables) == {name: [name] for name in ways}
    assert cloud.refused_hosts == [], "nobody else was asked"
    return by_hadoop


@pytest.mark.long
def test_hadoops_driver_copies_a_table_by_what_each_way_in_tells_it(azure_cloud: Cloud, home: Path):
    ways = [each for each in WAYS if each != "by_workload_identity"]
    assert copied_by_hadoop(azure_cloud, home, *ways) == {
        "login login.microsoftonline.com",
        "token https://storage.azure.com/ managed identity of the machine",
        "token https://storage.azure.com/ service principal",
    }


def test_hadoops_driver_is_a_workload_in_its_own_cloud(azure_cloud: Cloud, home: Path):
    told = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": "the-application"}
    told["AZURE_FEDERATED_TOKEN_FILE"] = str(home / "federated")
    assert copied_by_hadoop(azure_cloud, home, "by_workload_identity", "china", **told) == {
        "login login.microsoftonline.com",
        "login login.chinacloudapi.cn",
        "token https://storage.azure.com workload identity",
    }


def test_two_accounts_stand_side_by_side_whatever_is_usual_there(
    azure_cloud: Cloud, home: Path, monkeypatch: pytest.MonkeyPatch
):
    leave_out(hadoop.why_missing())
    found = named(home, monkeypatch)
    monkeypatch.setenv("APP_SECRET", azure_cloud.client_secret)
    lake = found["by_principal"]
    raw = Adls(account="contosoraw", container=CONTAINER, auth=found["by_key"].auth)
    with azure_cloud.container(raw.account) as container:
        container.upload_blob("shop/one.csv", b"a,b", overwrite=True)
    conf = {"fs.azure.account.auth.type": "OAuth", **spark_conf(raw), **spark_conf(lake)}
    its = spark_path(lake, "one.csv")
    ended = hadoop.shell(azure_cloud, home / "both", conf, "-cp", spark_path(raw, "shop", "one.csv"), its)
    assert ended.returncode == 0, ended.stderr
    with azure_cloud.container(lake.account) as container:
        assert container.download_blob("one.csv").readall() == b"a,b"


def test_hadoops_driver_says_who_refused_a_wrong_secret(
    azure_cloud: Cloud, home: Path, monkeypatch: pytest.MonkeyPatch
):
    leave_out(hadoop.why_missing())
    found = named(home, monkeypatch)
    monkeypatch.setenv("LAKE_KEY", "bm90IHRoZSBrZXk=")
    azurites = 'Operation failed: "Authentication information is not given in the correct format'
    for way, said in {"by_key": azurites, "by_principal": "AADSTS7000215: Invalid client secret"}.items():
        file = spark_path(found[way], "one.csv")
        ended = hadoop.shell(azure_cloud, home / way, spark_conf(found[way]), "-cat", file)
        assert (ended.returncode, said in ended.stderr) == (1, True), ended.stderr


def test_synapse_is_told_in_t_sql_with_its_literals_quoted(home: Path, monkeypatch: pytest.MonkeyPatch):
    found = named(home, monkeypatch)
    credential, source = synapse_statements(found["by_principal"], "la]ke")
    assert credential.startswith("CREATE DATABASE SCOPED CREDENTIAL [la]]ke] WITH IDENTITY = N'the-application@https")
    assert credential.endswith("SECRET = N'it''s secret'")
    where = "https://contosolake.dfs.core.windows.net/lake"
    assert source == f"CREATE EXTERNAL DATA SOURCE [la]]ke] WITH (LOCATION = N'{where}', CREDENTIAL = [la]]ke])"
    assert "N'Managed Identity'" in synapse_statements(found["by_managed_identity"], "lake")[0]
    with pytest.raises(Exception, match=r"'by_key' is opened by the account's key, which Synapse .* does not take"):
        synapse_statements(found["by_key"], "lake")


@pytest.mark.parametrize("cloud", ["public", "government", "china"])
def test_a_sovereign_cloud_is_a_setting(cloud: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("A_KEY", ACCOUNT_KEY)
    adls = Adls(
        account="contoso",
        container="lake",
        cloud=cloud,
        auth={"auth_mode": "direct_key", "account_key_variable": "A_KEY"},
    )
    suffix = {"public": "core.windows.net", "government": "core.usgovcloudapi.net", "china": "core.chinacloudapi.cn"}[
        cloud
    ]
    assert adls.account_url() == f"https://contoso.blob.{suffix}"
    assert adls.address("t").options.get("endpoint", "https://contoso.blob.core.windows.net") == adls.account_url()
    assert spark_path(adls) == f"abfss://lake@contoso.dfs.{suffix}"


def test_a_literal_key_serves_in_local_and_is_in_nothing_that_dagster_is_given(tmp_path, monkeypatch):
    text = (
        "connections:\n  landing: {type: local_disk, path: landing}\n"
        "  lake: {type: azure_adls, account: contoso, container: lake, auth_mode: direct_key,"
        f" account_key: {ACCOUNT_KEY}}}\n"
    )
    monkeypatch.setattr("resources.environment.SHIPPED", tmp_path)
    (tmp_path / "local.yaml").write_text(text)
    environment = load_environment("local")
    lake = storages(environment)["lake"]
    assert lake.address("t").options["account_key"] == ACCOUNT_KEY
    assert ACCOUNT_KEY not in repr(environment) + repr(lake) + repr(environment.connections) + lake.model_dump_json()
