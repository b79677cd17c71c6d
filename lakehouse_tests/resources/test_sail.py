"""What a script for Spark that runs on this machine is not given, and what is left out of all that it says."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from lakehouse.engine.declare.ports import Address, SparkJob
from lakehouse_tests.canaries import Canary, finds, key, word
from lakehouse_tests.shares import House, failure
from resources.environment import load_environment
from resources.pipes import options_of
from resources.sail import Sail, _environment

SIGNATURE, PASSWORD = key("a SAS").secret, word("a password").secret
NAMED = {
    "SHOP_KEY": key("a key").secret,
    "SHOP_SAS": "?sv=2021-08-06&sp=rl&sig=" + quote(SIGNATURE, safe=""),
    "SHOP_SECRET": word("an application's secret").secret,
    "SHOP_WORKSPACE": word("a token").secret,
    "DAGSTER_POSTGRES_URL": f"postgresql://dagster:{quote(PASSWORD, safe='')}@127.0.0.1:9/dagster",
    "SHOP_HISTORY": f"postgresql://dagster:{quote(PASSWORD, safe='')}@127.0.0.1:9/shop",
    "AZURE_CLIENT_SECRET": word("who runs this").secret,
}
"""What opens something else than the tables that the script reads and writes."""
LITERAL = word("a SAS in local.yaml").secret
ACCOUNT = "type: azure_adls, account: contoso, container: lake"
OTHER = f"""
connections:
  landing: {{{ACCOUNT}, auth_mode: direct_key, account_key_variable: SHOP_KEY,
    endpoint: "http://127.0.0.1:{{port}}/contoso", port_variable: SHOP_PORT}}
  shop: {{{ACCOUNT}, auth_mode: sas, sas_token_variable: SHOP_SAS}}
  lake: {{{ACCOUNT}, auth_mode: service_principal, tenant_id: t, client_id: c, client_secret_variable: SHOP_SECRET}}
spark: {{kind: databricks, host: "https://contoso", volume: /Volumes/a/b/c, token_variable: SHOP_WORKSPACE}}
"""
LOCAL = f"""
connections:
  landing: {{type: local_disk, path: landing}}
  lake: {{type: local_disk, path: lake}}
  shop: {{{ACCOUNT}, auth_mode: sas, sas_token: 'sig={quote(LITERAL, safe="")}'}}
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("SHARES", "tells all")
    monkeypatch.setattr("resources.redaction._known", set[str]())
    for name, secret in NAMED.items():
        monkeypatch.setenv(name, secret)
    for name, text in (
        ("environments/shop", OTHER),
        ("dagster/dagster", "storage: {postgres: {postgres_url: {env: SHOP_HISTORY}}}"),
    ):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.yaml").write_text(text)
    made = House(tmp_path, Sail(wait_seconds=0.05))
    made.land("1", a=1)
    return made


def said_of(house: House) -> str:
    result = house.run()
    return house.said(result) + failure(result)


def test_a_script_is_not_given_what_opens_anything_else(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_PORT", "10000")
    said = said_of(house)
    assert "'SHOP_PORT': '10000'" in said, "what is no secret, a script may want"
    assert [name for name in NAMED if name in said] == []


def test_an_environment_file_that_cannot_be_read_keeps_no_script_from_its_work(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    (house.home / "environments/torn.yaml").write_text("{")
    monkeypatch.setenv("SHARES", "well")
    assert house.run().success


def test_of_two_lakes_a_script_is_given_the_way_into_the_one_that_it_writes_to():
    production, own = (Address(f"abfss://lake@{name}", {"account_name": name}) for name in ("production", "own"))
    job = SparkJob("gold/shares", "", Path("shares.spark.py"), {"counted": (production, 0)}, own)
    assert _environment(dict(options_of(job)))["AZURE_STORAGE_ACCOUNT_NAME"] == "own"


def test_what_a_script_says_holds_no_secret_that_this_process_knows(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also one that it came by in a way of its own."""
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped/local.yaml").write_text(LOCAL)
    monkeypatch.setattr("resources.environment.SHIPPED", tmp_path / "shipped")
    load_environment("local")
    secrets = [*NAMED.values(), SIGNATURE, PASSWORD, LITERAL]
    for number, secret in enumerate(secrets):
        monkeypatch.setenv(f"COPY_{number}", secret)
    said = said_of(house)
    assert "'COPY_0': '***'" in said
    assert finds([Canary(f"number {at}", each) for at, each in enumerate(secrets)], {"said": said.encode()}) == []
