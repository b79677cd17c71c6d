"""Secrets of every kind, each used rightly and wrongly in every way; then all that came of it is searched for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote

import pytest

from lakehouse_tests.azure_cloud import ACCOUNT_KEY, TENANT, UNFIT, Cloud, Secret, account_sas
from lakehouse_tests.azurite import Azurite
from lakehouse_tests.canaries import Canary, all_of, finds, key, rows_of, word

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
    "no_container": "account: contosolake, container: nothing-here, auth_mode: direct_key, account_key_variable: RIGHT_KEY",
    "no_container_by_sas": "account: contosolake, container: nothing-here, auth_mode: sas, sas_token_variable: RIGHT_SAS",
    "no_account": "account: nobodyhasit, container: lake, auth_mode: direct_key, account_key_variable: WRONG_KEY",
}


PROXY = "http://lakehouse:{}@127.0.0.1:9"


class House:
    """A home, its canaries, the variables of its processes, and what these said."""

    def __init__(self, home: Path, cloud: Cloud, azurite: Azurite) -> None:
        self.home, self.cloud, self.azurite = home, cloud, azurite
        self.said: dict[str, bytes] = {}
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
        lake = "type: azure_adls, account: contosolake, container: lake"
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
        text = "\n".join(["key_vault_name: company-kv", "connections:", *lines])
        literal = (
            f"connections:\n  landing: {{{lake}, auth_mode: sas, sas_token: '{self.sas('LITERAL_SAS')}'}}\n"
            f"  lake: {{{lake}, auth_mode: direct_key, account_key: '{self.secret('LITERAL_KEY')}'}}\n"
        )
        for name, content in (("environments/canaries", text), ("shipped/local", literal)):
            file = self.home / f"{name}.yaml"
            file.parent.mkdir(parents=True)
            file.write_text(content)
        (self.home / "federated").write_text(self.secret("KUBERNETES"))

    def go(self, what: str, code: str, *arguments: str, **variables: str) -> None:
        """A process in the cloud and in a home of its own below ours; what it printed is kept."""
        home = self.home / "homes" / what
        home.mkdir(parents=True)
        for each in ("environments", "shipped"):
            (home / each).symlink_to(self.home / each)
        variables = {"LAKEHOUSE_ENVIRONMENT": "canaries", "DAGSTER_HOME": str(home / "dagster"), **variables}
        (home / "dagster").mkdir()
        identity = self.cloud.identity()
        ended = self.cloud.run(code, home, *arguments, **{**identity, **self.variables, **variables})
        self.said[f"{what}, exit {ended.returncode}, stdout"] = ended.stdout.encode()
        self.said[f"{what}, exit {ended.returncode}, stderr"] = ended.stderr.encode()

    def gather(self) -> None:
        """All that was left, but for the places where the secrets belong."""
        belong = ("environments/", "shipped/", "federated")
        kept = all_of(self.home)
        self.said |= {name: content for name, content in kept.items() if not name.startswith(belong)}
        for account in ("contosolake", "contosoraw"):
            with self.cloud.container(account) as container:
                for blob in container.list_blobs():
                    content = container.download_blob(blob.name).readall()
                    self.said[f"{account}: {blob.name}"] = content
                    if blob.name.endswith(".parquet"):
                        self.said[f"{account}: {blob.name} (rows)"] = rows_of(content)
        for number, token in enumerate(self.cloud.issued):
            self.canaries[f"token {number}"] = Canary("a token of Entra", token.rpartition(".")[2])


@pytest.fixture(scope="module")
def house(whole_azure_cloud: Cloud, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    whole_azure_cloud.reset()
    azurite.create_container("canaries")
    made = House(tmp_path_factory.mktemp("canaries"), whole_azure_cloud, azurite)
    began = time.monotonic()
    import subprocess
    try:
     made.go("tour", TOUR, LOUD="yes", RUST_LOG="debug", FAR="no_azurite torn_sas")
    except subprocess.TimeoutExpired as t:
        Path("/tmp/w/canary_out").write_bytes(t.stdout)
        Path("/tmp/w/canary_err").write_bytes(t.stderr)
    print(time.monotonic() - began)
    for n, c in made.said.items():
        if n.startswith("tour"): Path("/tmp/w/canary_" + n[-6:]).write_bytes(c)
    made.gather()
    yield made
    whole_azure_cloud.reset()


def test_no_secret_is_in_anything_that_came_out(house: House):
    assert finds(house.canaries.values(), house.said) == []
