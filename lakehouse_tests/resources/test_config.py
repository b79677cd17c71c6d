from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse_tests.azure_cloud import ACCOUNT_KEY, TENANT, Cloud, Secret
from resources.config import schema, shown
from resources.environment import SHIPPED, Settings

AZURE = """
key_vault_name: company-kv
connections:
  landing: {type: azure_adls, account: contosoraw, container: lake, auth_mode: key_vault, secret_name: raw-key}
  lake: {type: azure_adls, account: contosolake, container: lake, auth_mode: managed_identity}
  shop: {type: azure_adls, account: contosolake, container: lake, auth_mode: key_vault, secret_name: shop-kee}
spark: {kind: databricks, host: "https://adb-1.azuredatabricks.net", volume: /Volumes/a/b/c, token_variable: A_TOKEN}
"""
COMMAND = "from lakehouse.cli import main; main()"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "azure.yaml").write_text(AZURE)
    return tmp_path


def test_every_setting_is_shown_with_file_and_line_variable_or_default(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LAKEHOUSE_ENVIRONMENT", "azure")
    monkeypatch.setenv("A_TOKEN", "SECRET-TEXT")
    found = {each.name: (each.value, each.origin.removeprefix(f"{home}/environments/")) for each in shown()}
    assert found["environment"] == ("azure", "LAKEHOUSE_ENVIRONMENT")
    assert found["home"] == (str(home), "LAKEHOUSE_HOME")
    assert found["connections.lake.account"] == ("contosolake", "azure.yaml:5")
    assert found["connections.landing.secret_holds"] == ("account_key", "default")
    assert found["spark.token_variable"] == ("A_TOKEN", "azure.yaml:7; A_TOKEN is set")
    assert found["executor"] == ("in_process", "default")
    assert "SECRET-TEXT" not in repr(found)


def test_a_literal_secret_is_shown_as_stars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "auth_mode: direct_key, account_key: SECRETTEXT"
    (tmp_path / "local.yaml").write_text(
        "connections:\n  landing: {type: local_disk, path: x}\n"
        f"  lake: {{type: azure_adls, account: contoso, container: lake, {text}}}\n"
    )
    monkeypatch.setattr("resources.environment.SHIPPED", tmp_path)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path / "home"))
    assert {each.name: each.value for each in shown("local")}["connections.lake.account_key"] == "***"


def test_the_schema_that_is_shipped_is_that_of_the_settings():
    assert (SHIPPED / "schema.json").read_text(encoding="utf-8") == schema(), "lakehouse config schema > that file"
    told = json.loads(schema())
    assert set(told["properties"]) == set(Settings.model_fields)
    assert "auth_mode" in json.dumps(told["$defs"])


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_each_shipped_environment_names_the_schema_for_editors(file: Path):
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=schema.json\n")


def test_what_is_set_is_shown_without_loading_what_is_heavy(home: Path):
    code = "import sys; sys.argv = ['lakehouse', 'config', 'show']\nfrom lakehouse.cli import main\n"
    code += "try: main()\nexcept SystemExit: print(sorted({name.partition('.')[0] for name in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = ended.stdout.splitlines()[-1]
    assert "'pydantic'" in loaded
    for heavy in ("azure", "dagster", "databricks", "deltalake", "polars", "pandera", "requests"):
        assert f"'{heavy}'" not in loaded


def looked(
    cloud: Cloud, home: Path, *arguments: str, is_nobody: bool = False, **variables: str
) -> tuple[int, dict[str, tuple[bool, str]]]:
    identity = cloud.nobody() if is_nobody else cloud.identity()
    variables = {"LAKEHOUSE_ENVIRONMENT": "azure", **identity, **variables}
    ended = cloud.run(COMMAND, home, *arguments, "--json", **variables)
    assert "SECRET-TEXT" not in ended.stdout + ended.stderr
    assert ACCOUNT_KEY not in ended.stdout + ended.stderr
    assert not ended.stderr, ended.stderr
    return ended.returncode, {each["what"]: (each["is_well"], each["said"]) for each in json.loads(ended.stdout)}


def test_the_check_of_an_environment_finds_all_that_is_not_so_with_the_next_step(azure_cloud: Cloud, home: Path):
    azure_cloud.vaults["company-kv"] = {"raw-key": Secret(ACCOUNT_KEY), "shop-key": Secret(ACCOUNT_KEY)}
    code, found = looked(azure_cloud, home, "env", "check")
    assert code == 1
    assert found["variable A_TOKEN"] == (False, "is not set; spark needs it: export A_TOKEN=...")
    assert found["secret raw-key of landing"] == (True, "is in vault 'company-kv'")
    is_well, said = found["secret shop-kee of shop"]
    assert not is_well
    assert "Secret 'shop-kee' not found in vault 'company-kv' (did you mean 'shop-key'?)" in said
    assert found["container of landing"] == (True, "lake of contosoraw can be listed")
    assert found["container of lake"] == (True, "lake of contosolake can be listed")
    is_well, said = found["certificate of contosolake.blob.core.windows.net"]
    assert is_well
    assert said.startswith("ends in ")
    is_well, said = found["certificate of adb-1.azuredatabricks.net"]
    assert not is_well
    assert "cannot be reached" in said
    assert found["address that others see"] == (
        True,
        "203.0.113.7: let it through the firewalls of accounts and vaults",
    )


def test_doctor_storage_goes_to_each_container_step_by_step(azure_cloud: Cloud, home: Path):
    azure_cloud.vaults["company-kv"] = {"raw-key": Secret("bm90IHRoZSBrZXk="), "shop-kee": Secret(ACCOUNT_KEY)}
    code, found = looked(azure_cloud, home, "doctor", "storage")
    assert code == 1
    assert found["way into landing"] == (True, "account_key from secret 'raw-key' in vault 'company-kv'")
    is_well, said = found["container of landing"]
    assert not is_well
    assert "refused (40" in said
    assert "secret 'raw-key' in vault 'company-kv'" in said
    is_well, said = found["way into lake"]
    assert is_well
    assert "object o" in said
    assert found["writing to lake"] == (True, "a probe was written, read and removed")
    assert "writing to landing" not in found, "nothing is written to where files land"


def test_doctor_storage_names_who_cannot_log_in(azure_cloud: Cloud, home: Path):
    ways = f"auth_mode: service_principal, tenant_id: {TENANT}, client_id: app, client_secret_variable: APP"
    text = AZURE.replace("auth_mode: managed_identity", ways)
    (home / "environments" / "azure.yaml").write_text(text)
    _, found = looked(azure_cloud, home, "doctor", "storage", APP="SECRET-TEXT")
    is_well, said = found["way into lake"]
    assert not is_well
    assert "AADSTS7000215" in said
    assert "container of lake" not in found, "the first step that fails ends it"


def test_each_way_into_a_container_tells_what_is_wrong_with_it_alone(azure_cloud: Cloud, home: Path):
    _, found = looked(azure_cloud, home, "doctor", "storage")
    for name, secret, other in (("landing", "raw-key", "shop-kee"), ("shop", "shop-kee", "raw-key")):
        is_well, said = found[f"way into {name}"]
        assert not is_well
        assert f"Secret '{secret}' not found in vault 'company-kv'" in said
        assert other not in said


@pytest.mark.parametrize(
    ("words", "looked_at"),
    [
        ("doctor storage", {"way into landing", "way into shop"}),
        ("doctor vault", {"login at vault company-kv", "secret raw-key of landing", "secret shop-kee of shop"}),
        ("env check", {"secret raw-key of landing", "secret shop-kee of shop"}),
    ],
)
def test_where_nobody_is_logged_in_that_is_said_shortly_with_the_next_step(
    azure_cloud: Cloud, home: Path, words: str, looked_at: set[str]
):
    _, found = looked(azure_cloud, home, *words.split(), PATH="/nowhere", is_nobody=True)
    said = {what: said for what, (_, said) in found.items() if "no login was found on this machine" in said}
    assert set(said) == looked_at
    for each in said.values():
        assert "(looked for: Environment, WorkloadIdentity, ManagedIdentity, " in each
        assert "AzureCli, " in each
        assert "Log in (az login), or " in each
        assert len(each) < 400


def test_doctor_vault_tells_certificate_login_and_each_secret(azure_cloud: Cloud, home: Path):
    azure_cloud.vaults["company-kv"] = {"raw-key": Secret(ACCOUNT_KEY), "shop-kee": Secret("x", "disabled")}
    code, found = looked(azure_cloud, home, "doctor", "vault")
    assert code == 1
    assert found["certificate of company-kv.vault.azure.net"][0]
    assert found["login at vault company-kv"][0]
    assert found["secret raw-key of landing"] == (True, "is in vault 'company-kv'")
    assert "is disabled in vault 'company-kv'" in found["secret shop-kee of shop"][1]


def test_a_certificate_that_nobody_trusts_is_told(azure_cloud: Cloud, home: Path):
    code = "from resources.diagnosis import certificate; print(certificate('company-kv.vault.azure.net'))"
    ended = azure_cloud.run(code, home, SSL_CERT_FILE="/dev/null")
    assert "is not trusted" in ended.stdout, ended.stderr


def test_where_all_is_on_this_machine_nobody_is_asked(azure_cloud: Cloud, tmp_path: Path):
    code, found = looked(azure_cloud, tmp_path, "env", "check", LAKEHOUSE_ENVIRONMENT="local")
    assert code == 0
    assert set(found) == {"folder of landing", "folder of lake"}
    assert azure_cloud.asked == []
