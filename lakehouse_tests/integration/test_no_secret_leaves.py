"""Secrets of every kind, each used rightly and wrongly in every way; then all that came of it is searched for them."""

from __future__ import annotations

import base64
import json
import logging
import shlex
import sqlite3
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, quote

import dagster as dg
import deltalake
import polars as pl
import pytest
import trustme
from deltalake import CommitProperties

from lakehouse_tests.azure_cloud import ACCOUNT_KEY, TENANT, UNFIT, Cloud, Secret, account_sas
from lakehouse_tests.azurite import A_KEY, Azurite
from lakehouse_tests.canaries import Canary, all_of, finds, key, rows_of, word
from lakehouse_tests.databricks import TOKEN, Workspace
from lakehouse_tests.shares import House as Shares
from lakehouse_tests.shares import failure
from resources.adls import Adls
from resources.databricks.workspace import Databricks
from resources.sail import Sail

pytestmark = pytest.mark.azurite

TOUR = "from lakehouse_tests.tour import main; main()"
COMMAND = "from lakehouse.cli import main; main()"
IDS = f"tenant_id: {TENANT}, client_id: the-application"
SAS = "sv=2021-08-06&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&spr=https&sig="

# what each connection of the environment is opened by; what is right, what is wrong, and what is no such thing
WAYS = {
    "key": "auth_mode: direct_key, account_key_variable: RIGHT_KEY",
    "wrong_key": "auth_mode: direct_key, account_key_variable: WRONG_KEY",
    "no_key": "auth_mode: direct_key, account_key_variable: NO_KEY",
    "key_in_vault": "auth_mode: key_vault, secret_name: right-key",
    "wrong_key_in_vault": "auth_mode: key_vault, secret_name: wrong-key",
    "no_key_in_vault": "auth_mode: key_vault, secret_name: no-key",
    "sas": "auth_mode: sas, sas_token_variable: RIGHT_SAS",
    "wrong_sas": "auth_mode: sas, sas_token_variable: WRONG_SAS",
    "no_sas": "auth_mode: sas, sas_token_variable: NO_SAS",
    "torn_sas": "auth_mode: sas, sas_token_variable: TORN_SAS",
    "sas_in_vault": "auth_mode: key_vault, secret_name: right-sas, secret_holds: sas_token",
    "wrong_sas_in_vault": "auth_mode: key_vault, secret_name: wrong-sas, secret_holds: sas_token",
    "principal": f"auth_mode: service_principal, {IDS}, client_secret_variable: RIGHT_SECRET",
    "wrong_principal": f"auth_mode: service_principal, {IDS}, client_secret_variable: WRONG_SECRET",
    "principal_in_vault": f"auth_mode: service_principal, {IDS}, secret_name: right-secret",
    "wrong_principal_in_vault": f"auth_mode: service_principal, {IDS}, secret_name: wrong-secret",
    "workload": f"auth_mode: workload_identity, {IDS}, token_file: HOME/federated",
    "managed": "auth_mode: managed_identity",
    "unfit_identity": f"auth_mode: managed_identity, client_id: {UNFIT}",
    "missing_secret": "auth_mode: key_vault, secret_name: nowhere",
    "forbidden_secret": "auth_mode: key_vault, secret_name: forbidden",
    "disabled_secret": "auth_mode: key_vault, secret_name: disabled",
    "hung_vault": "auth_mode: key_vault, secret_name: any, key_vault_name: slow-kv",
}
ELSEWHERE = {
    "no_container": f"account: contosolake, container: nothing-here, {WAYS['key']}",
    "no_container_by_sas": f"account: contosolake, container: nothing-here, {WAYS['sas']}",
    "no_account": "account: nobodyhasit, container: lake, auth_mode: direct_key, account_key_variable: WRONG_KEY",
}


class House:
    """A home, its canaries, the variables of its processes, and what these said."""

    def __init__(self, home: Path, cloud: Cloud, azurite: Azurite) -> None:
        self.home, self.cloud, self.azurite = home, cloud, azurite
        self.said: dict[str, bytes] = {}
        self.container = f"canaries-{uuid.uuid4().hex}"  # the accounts are those of other tests too
        with cloud.container("contosolake", self.container) as container:
            container.create_container()
        right_sas = account_sas("contosolake")
        self.canaries = {
            "RIGHT_KEY": Canary("the account's key", ACCOUNT_KEY),
            "WRONG_KEY": key("a wrong key"),
            "NO_KEY": word("a key that is no Base64"),
            "RIGHT_SAS": Canary("the signature of a SAS", parse_qs(right_sas)["sig"][0]),
            "WRONG_SAS": key("the signature of a wrong SAS"),
            "NO_SAS": word("a SAS that is none"),
            "TORN_SAS": word("a SAS of two lines", rest="\n2"),
            "RIGHT_SECRET": word("the application's secret"),
            "WRONG_SECRET": word("a wrong secret of an application"),
            "KUBERNETES": word("the token of Kubernetes"),
            "IDENTITY_HEADER": word("the header of the managed identity"),
            "AZURITE_KEY": Canary("Azurite's key", azurite.key),
            "PROXY": word("the password of a proxy"),
            "wrong-key": key("a wrong key in the vault"),
            "no-key": word("a key in the vault that is no Base64"),
            "wrong-sas": key("the signature of a wrong SAS in the vault"),
            "wrong-secret": word("a wrong secret in the vault"),
            "withheld": word("a secret that may not be read"),
            "LITERAL_KEY": key("a key in local.yaml"),
            "LITERAL_SAS": key("the signature of a SAS in local.yaml"),
        }
        cloud.client_secret = self.secret("RIGHT_SECRET")
        cloud.identity_header = self.secret("IDENTITY_HEADER")
        cloud.hung = {"slow-kv"}
        cloud.vaults["company-kv"] = {
            "right-key": Secret(ACCOUNT_KEY),
            "right-sas": Secret(right_sas),
            "right-secret": Secret(cloud.client_secret),
            "wrong-sas": Secret(self.sas("wrong-sas")),
            **{name: Secret(self.secret(name)) for name in ("wrong-key", "no-key", "wrong-secret")},
            "forbidden": Secret(self.secret("withheld"), "forbidden"),
            "disabled": Secret(self.secret("withheld"), "disabled"),
        }
        self.variables = {name: self.secret(name) for name in self.canaries if name.isupper()}
        self.variables |= {"RIGHT_SAS": "?" + right_sas, "WRONG_SAS": self.sas("WRONG_SAS")}
        self.variables |= {"TORN_SAS": self.sas("TORN_SAS"), "AZURITE_PORT": str(azurite.port), "NO_PORT": "9"}
        self.variables |= {"CURL_CA_INFO": str(cloud.folder / "ca.pem"), "CURL_CA_PATH": str(cloud.folder)}  # DuckDB's
        self._furnish()

    def secret(self, name: str) -> str:
        return self.canaries[name].secret

    def sas(self, name: str) -> str:
        return SAS + quote(self.secret(name), safe="\n")

    def _furnish(self) -> None:
        lake = f"type: azure_adls, account: contosolake, container: {self.container}"
        azurite = "type: azure_adls, account: devstoreaccount1, container: canaries, auth_mode: direct_key"
        azurite += ', endpoint: "http://127.0.0.1:{port}/devstoreaccount1", port_variable'
        lines = [f"  {name}: {{{lake}, {way.replace('HOME', str(self.home))}}}" for name, way in WAYS.items()]
        lines += [f"  {name}: {{type: azure_adls, {way}}}" for name, way in ELSEWHERE.items()]
        lines += [
            "  landing: {type: local_disk, path: landing}",
            "  lake: {type: local_disk, path: lake}",
            f"  azurite: {{{azurite}: AZURITE_PORT, account_key_variable: AZURITE_KEY}}",
            f"  wrong_azurite: {{{azurite}: AZURITE_PORT, account_key_variable: WRONG_KEY}}",
            f"  no_azurite: {{{azurite}: NO_PORT, account_key_variable: AZURITE_KEY}}",
        ]
        text = "\n".join(["key_vault_name: company-kv", "connections:", *lines]) + "\n"
        slow = ("  hung_vault", "  no_azurite", "  torn_sas", "  wrong_principal")  # Azure's client asks for a minute
        quick = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(slow))
        literal = (
            f"connections:\n  landing: {{{lake}, auth_mode: sas, sas_token: '{self.sas('LITERAL_SAS')}'}}\n"
            f"  lake: {{{lake}, auth_mode: direct_key, account_key: '{self.secret('LITERAL_KEY')}'}}\n"
        )
        wrong = (
            f"connections:\n  landing: {{{lake}, {WAYS['wrong_sas']}}}\n  lake: {{{lake}, {WAYS['wrong_key']}}}\n"
            "spark: {kind: databricks, host: 'http://127.0.0.1:9', volume: /Volumes/a/b/c, token_variable: TOKEN}\n"
        )
        for name, content in (
            ("environments/canaries", text),
            ("environments/quick", quick),
            ("environments/wrong", wrong),
            ("shipped/local", literal),
        ):
            file = self.home / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        (self.home / "federated").write_text(self.secret("KUBERNETES"))

    def live(self, jobs: list[Job]) -> None:
        """All of them, two at a time; then what was left is gathered."""
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self._go, *job) for job in jobs]:
                done.result()
        self._gather()

    def _go(self, what: str, code: str, arguments: list[str], more: dict[str, str]) -> None:
        """A process in the cloud and in a home of its own below ours; what it printed is kept."""
        home = self.home / "homes" / what
        (home / "dagster").mkdir(parents=True)
        for each in ("environments", "shipped"):
            (home / each).symlink_to(self.home / each)
        variables = {"LAKEHOUSE_ENVIRONMENT": "canaries", "DAGSTER_HOME": str(home / "dagster"), **more}
        ended = self.cloud.run(code, home, *arguments, **{**self.cloud.identity(), **self.variables, **variables})
        self.said[f"{what}, exit {ended.returncode}, stdout"] = ended.stdout.encode()
        self.said[f"{what}, exit {ended.returncode}, stderr"] = ended.stderr.encode()

    def _gather(self) -> None:
        """All that was left, but for the places where the secrets belong."""
        belong = ("environments/", "shipped/", "federated")
        kept = all_of(self.home)
        self.said |= {name: content for name, content in kept.items() if not name.startswith(belong)}
        with self.cloud.container("contosolake", self.container) as container:
            for blob in container.list_blobs():
                content = container.download_blob(blob.name).readall()
                self.said[f"the lake: {blob.name}"] = content
                if blob.name.endswith(".parquet"):
                    self.said[f"the lake: {blob.name} (rows)"] = rows_of(content)
        for number, token in enumerate(self.cloud.issued):
            self.canaries[f"token {number}"] = Canary("a token of Entra", token.rpartition(".")[2])


COMMANDS = {
    "quick": ["config show", "config show --json", "env check", "doctor storage", "doctor vault"],
    "wrong": ["run", "status", "sql 'show tables'", "why silver/orders 1"],
    "test": ["run", "status"],
}
FAR = "key sas key_in_vault principal managed azurite"
LITERAL: list[str] = ["literal_landing", "literal_lake"]
FEW: list[str] = [
    "key",
    "wrong_key",
    "no_key",
    "sas",
    "wrong_sas",
    "no_sas",
    "wrong_principal",
    "unfit_identity",
    "disabled_secret",
    *LITERAL,
]
ALL: list[str] = [*WAYS, *ELSEWHERE, *LITERAL, "azurite", "wrong_azurite", "no_azurite"]
type New = Callable[[], House]
type Job = tuple[str, str, list[str], dict[str, str]]


def tours(names: list[str]) -> list[Job]:
    loud: dict[str, str] = {"LOUD": "yes", "RUST_LOG": "debug", "FAR": "no_azurite torn_sas"}
    halves: list[Job] = [(f"tour {at}", TOUR, names[at::2], loud) for at in (0, 1)]
    return halves


def far_tours(house: House) -> list[Job]:
    """By a proxy that is dead, with a password in its URL; and to a cloud whose certificates nobody trusts."""
    proxy = f"http://lakehouse:{quote(house.secret('PROXY'), safe='')}@127.0.0.1:9"
    trusted = house.home / "another.pem"
    trustme.CA().cert_pem.write_to_path(str(trusted))
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CURL_CA_INFO")
    others = {"proxy": {"HTTPS_PROXY": proxy}, "untrusted": dict.fromkeys(names, str(trusted))}
    far: list[str] = [*FAR.split()]
    return [(what, TOUR, far, {"LOUD": "yes", "FAR": FAR, **each}) for what, each in others.items()]


def commands(house: House) -> list[Job]:
    wrong = {"AZURITE_KEY": house.secret("WRONG_KEY")}
    return [
        (f"{name} {words}".replace("/", "_"), COMMAND, shlex.split(words), {**wrong, "LAKEHOUSE_ENVIRONMENT": name})
        for name, each in COMMANDS.items()
        for words in each
    ]


@pytest.fixture(scope="module")
def new_house(whole_azure_cloud: Cloud, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[New]:
    azurite.create_container("canaries")

    def make() -> House:
        whole_azure_cloud.reset()
        return House(tmp_path_factory.mktemp("canaries"), whole_azure_cloud, azurite)

    yield make
    whole_azure_cloud.reset()


@pytest.fixture(scope="module")
def lived_in(new_house: New) -> House:
    """A house in which much has gone wrong."""
    made = new_house()
    made.live([*tours(FEW), *commands(made)])
    return made


def test_no_secret_is_in_anything_that_came_out(lived_in: House):
    assert finds(lived_in.canaries.values(), lived_in.said) == []


def test_all_that_was_to_go_wrong_did_so_and_was_told(lived_in: House):
    said = b"".join(lived_in.said.values()).decode(errors="replace")
    for sentence in (
        "refused (403",
        "'WRONG_KEY holds",
        "NO_KEY holds is no storage key",
        "NO_SAS holds is no SAS token",
        "AADSTS7000215",
        "Secret 'disabled' is disabled in vault 'company-kv'",
        "Secret 'forbidden' may not be read in vault 'company-kv'",
        "Secret 'nowhere' not found in vault 'company-kv'",
        "Error performing GET REDACTED",
        "RUN_SUCCESS",
        "RUN_FAILURE",
    ):
        assert sentence.removeprefix("'") in said, sentence
    assert [each for each in lived_in.said if each.startswith("the lake: silver/sales/_delta_log/")]
    assert {each.rpartition("exit ")[2][:1] for each in lived_in.said if "stdout" in each} == {"0", "1"}


def test_what_is_planted_is_found(lived_in: House, tmp_path: Path):
    canary = lived_in.canaries["WRONG_SECRET"]
    assert finds([canary], {"said": b"nothing of the kind"}) == []
    piece, coded = canary.secret[7:20], base64.b64encode(f"user:{canary.secret}".encode()).decode()
    for text in (canary.secret, piece, quote(canary.secret), json.dumps(canary.secret), coded):
        assert finds([canary], {"said": f"…{text}…".encode()}), text
    rows = pl.DataFrame({"day": [canary.secret] * 3})
    note = CommitProperties(custom_metadata={"way": canary.secret})
    deltalake.write_deltalake(str(tmp_path / "table"), rows, commit_properties=note)
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("create table runs (body blob)")
        database.execute("insert into runs values (?)", [zlib.compress(json.dumps([canary.secret]).encode())])
        database.commit()
    places = [each.split(" in ", 1)[1].split(":")[0] for each in finds([canary], all_of(tmp_path))]
    assert [each for each in places if each.startswith("table/_delta_log")]
    assert [each for each in places if each.endswith(".parquet (rows)")]
    assert "a.db (rows)" in places


@pytest.mark.long
def test_no_secret_is_in_what_any_connection_says_from_near_and_far(new_house: New):
    made = new_house()
    made.live([*tours(ALL), *far_tours(made)])
    assert finds(made.canaries.values(), made.said) == []


def kept_in(folder: Path) -> str:
    (folder / "dagster").mkdir()
    return str(folder / "dagster")


def test_a_script_that_prints_its_surroundings_prints_no_key(
    azurite: Azurite, new_container: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("A_KEY", azurite.key)
    monkeypatch.setenv("SHARES", "tells all")
    lake = Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)
    instance = dg.DagsterInstance.local_temp(kept_in(tmp_path))
    house = Shares(tmp_path, Sail(wait_seconds=0.05), lake, instance)
    house.land("1", a=1, b=3)
    result = house.run()
    assert "'AZURE_STORAGE_ACCOUNT_KEY': '***'" in house.said(result)
    assert finds([Canary("the key", azurite.key)], all_of(tmp_path)) == []


@pytest.mark.parametrize("way", ["right", "wrong", "torn"])
def test_a_workspace_that_refuses_is_told_without_its_token(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    token = TOKEN if way == "right" else word("a token", rest="\n2" if way == "torn" else "").secret
    monkeypatch.setenv("WORKSPACE_TOKEN", token)
    workspace = Workspace(tmp_path / "workspace")
    workspace.faults["POST", "/runs/submit"] = deque([403])  # by a page, as of a proxy, that nobody can parse
    try:
        place = Databricks(host=workspace.host, volume="/Volumes/main/lakehouse/jobs", token_variable="WORKSPACE_TOKEN")
        instance = dg.DagsterInstance.local_temp(kept_in(tmp_path))
        house = Shares(tmp_path, place, instance=instance)
        house.land("1", a=1)
        result = house.run()
    finally:
        workspace.stop()
    told = {"right": "The workspace refused", "wrong": "The workspace refused", "torn": "holds no token for"}
    assert told[way] in failure(result)
    said = {"log": caplog.text.encode(), "failure": failure(result).encode(), "place": repr(place).encode()}
    assert finds([Canary("the token", token.strip())], {**said, **all_of(tmp_path / "dagster")}) == []
