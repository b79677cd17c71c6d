from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lakehouse.engine.declare.errors import Terminal, Transient
from lakehouse_tests.azure_cloud import TENANT, Cloud, Secret
from resources import entra, key_vault
from resources.adls import Adls
from resources.clouds import CloudName
from resources.key_vault import Wanted


@pytest.fixture
def cloud(azure_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """In which this very process is an application of Entra that may read vaults.

    Who waits for a vault that hangs is answered at the end: it would ask for a token in the middle of the next test.
    """
    principal = {"TENANT_ID": TENANT, "CLIENT_ID": "the-application", "CLIENT_SECRET": azure_cloud.client_secret}
    for name, value in (
        azure_cloud.environment() | {f"AZURE_{name}": value for name, value in principal.items()}
    ).items():
        monkeypatch.setenv(name, value)
    for each in (entra.any_login, entra.service_principal, entra.managed_identity, key_vault._client):
        vars(each)["__wrapped__"].cache_clear()
    monkeypatch.setattr(key_vault, "_asked", {})
    yield azure_cloud
    azure_cloud.hung = set()
    for thread in threading.enumerate():
        if thread.name.startswith("secret of "):
            thread.join()


def wanted(connection: str, secret: str, vault: str = "company-kv", cloud: CloudName = "public") -> Wanted:
    return Wanted(connection, vault, secret, cloud, "production.yaml")


def refused(each: Wanted, kind: type[Exception] = Terminal) -> str:
    with pytest.raises(kind) as caught:
        key_vault.secret(each)
    return str(caught.value)


def test_a_secret_is_asked_for_once_and_kept(cloud: Cloud):
    cloud.vaults["first-kv"] = {"bronze-key": Secret("a-key")}
    each = wanted("bronze", "bronze-key", vault="first-kv")
    assert {key_vault.secret(each) for _ in range(3)} == {"a-key"}
    assert cloud.of("vault") == ["vault first-kv bronze-key without token", "vault first-kv bronze-key with token"]


def test_nothing_is_asked_while_nobody_wants_a_secret(monkeypatch: pytest.MonkeyPatch):
    asked: list[Wanted] = []
    monkeypatch.setattr(key_vault, "_asked", {})
    monkeypatch.setattr(key_vault, "_ask", lambda each: asked.append(each.wanted))  # in the thread that would ask
    in_vault = {"auth_mode": "key_vault", "key_vault_name": "company-kv", "secret_name": "lake-key"}
    each = Adls(account="contoso", container="lake", auth=in_vault, connection="bronze", declared_in="company.yaml")
    each.uri("silver", "orders")
    time.sleep(0.1)
    assert asked == []
    each.begin()
    while not asked:
        time.sleep(0.01)
    assert asked == [each.wanted]


def test_what_is_begun_together_is_asked_for_at_once_with_one_token(cloud: Cloud):
    cloud.vaults["company-kv"] = {f"key-{n}": Secret(f"value {n}") for n in range(5)}
    cloud.latency_seconds = 0.3
    five = [wanted(f"c{n}", f"key-{n}") for n in range(5)]
    for each in five:
        key_vault.begin(each)
    assert [key_vault.secret(each) for each in five] == [f"value {n}" for n in range(5)]
    assert cloud.most_at_once["company-kv"] == 5
    assert cloud.of("token") == ["token https://vault.azure.net service principal"]


def test_a_secret_that_is_old_is_asked_for_anew(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    cloud.vaults["company-kv"] = {"bronze-key": Secret("old")}
    each = wanted("bronze", "bronze-key")
    assert key_vault.secret(each) == "old"
    cloud.vaults["company-kv"]["bronze-key"] = Secret("new")
    assert key_vault.secret(each) == "old"
    monkeypatch.setattr(key_vault, "KEPT_SECONDS", 0.0)
    assert key_vault.secret(each) == "new"


def test_a_secret_that_a_store_refuses_is_looked_for_in_the_vault_at_once(cloud: Cloud):
    cloud.vaults["company-kv"] = {"bronze-key": Secret("old")}
    each = wanted("bronze", "bronze-key")
    assert not key_vault.rotated(each, refused=key_vault.secret(each))
    cloud.vaults["company-kv"]["bronze-key"] = Secret("new")
    assert key_vault.rotated(each, refused="old")
    assert key_vault.secret(each) == "new"


def test_all_that_is_refused_is_told_together_each_with_connection_secret_vault_and_way_out(cloud: Cloud):
    cloud.vaults["company-kv"] = {
        "bronze-key": Secret("fine"),
        "wrong-nam": Secret("near"),
        "closed": Secret("x", "forbidden"),
        "off": Secret("x", "disabled"),
    }
    all_of_them = {
        "bronze": wanted("bronze", "wrong-name"),
        "fine": wanted("fine", "bronze-key"),
        "gold": wanted("gold", "off"),
        "nowhere": wanted("nowhere", "any", vault="no-such-kv"),
        "silver": wanted("silver", "closed"),
    }
    for each in all_of_them.values():
        key_vault.begin(each)
    cloud.vaults.pop("no-such-kv", None)
    said = refused(all_of_them["silver"]).splitlines()
    assert said[0].startswith(
        "Connection 'bronze': Secret 'wrong-name' not found in vault 'company-kv' (did you mean 'wrong-nam'?). "
        "Mend secret_name in production.yaml, or create it: az keyvault secret set --vault-name company-kv "
    )
    assert said[1].startswith("Connection 'gold': Secret 'off' is disabled in vault 'company-kv': enable it (az keyv")
    assert said[2].startswith("Connection 'nowhere': Secret 'any' not found in vault 'no-such-kv'.")
    assert said[3].startswith("Connection 'silver': Secret 'closed' may not be read in vault 'company-kv': give ")
    assert "Key Vault Secrets User" in said[3]
    assert said[4:] == ["Nothing was read or written by it."]
    assert key_vault.secret(all_of_them["fine"]) == "fine", "what can be had is had"


def test_a_vault_that_cannot_be_reached_may_be_tried_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    said = refused(wanted("bronze", "bronze-key", vault="far-kv"), Transient)
    assert "Connection 'bronze': vault 'far-kv' cannot be reached at https://far-kv.vault.azure.net" in said
    assert "key_vault_name in production.yaml" in said


def test_one_vault_that_hangs_costs_the_deadline_and_not_more(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(key_vault, "DEADLINE_SECONDS", 1.5)
    cloud.vaults["company-kv"] = {"bronze-key": Secret("fine")}
    cloud.hung = {"slow-kv"}
    hung = [wanted(f"slow{n}", f"key-{n}", vault="slow-kv") for n in range(3)]
    fine = wanted("bronze", "bronze-key")
    for each in [*hung, fine]:
        key_vault.begin(each)
    assert key_vault.secret(fine) == "fine", "which waits for no other"
    began = time.monotonic()
    said = [refused(each, Transient) for each in hung]
    assert time.monotonic() - began < 3
    assert said[0].count("vault 'slow-kv' did not answer within 2 s") == 3


@pytest.mark.long
def test_a_process_that_asks_a_vault_that_hangs_ends_after_30_seconds(azure_cloud: Cloud, tmp_path: Path):
    azure_cloud.hung = {"slow-kv"}
    principal = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": "a", "AZURE_CLIENT_SECRET": azure_cloud.client_secret}
    code = "from resources.key_vault import Wanted, secret\nsecret(Wanted('bronze', 'slow-kv', 'key'))"
    began = time.monotonic()
    ended = azure_cloud.run(code, tmp_path, **principal)
    assert "Connection 'bronze': vault 'slow-kv' did not answer within 30 s" in ended.stderr
    assert 30 <= time.monotonic() - began < 35


def test_a_wrong_login_is_told_in_entras_words_and_shows_no_secret(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "WRONG-SECRET-TEXT")
    said = refused(wanted("bronze", "bronze-key"))
    assert "Connection 'bronze': there is no way into vault 'company-kv'" in said
    assert "WRONG-SECRET-TEXT" not in said


def test_a_vault_that_asks_for_a_token_for_somebody_else_gets_none(cloud: Cloud):
    cloud.vaults["evil-kv"] = {"bronze-key": Secret("a-key")}
    cloud.resource = "https://evil.example"
    said = refused(wanted("bronze", "bronze-key", vault="evil-kv"))
    assert "vault 'evil-kv' was given no token: The challenge resource 'evil.example' does not match" in said
    assert cloud.of("token") == []


def test_the_vaults_of_another_cloud_are_asked_there(cloud: Cloud):
    cloud.vaults["company-kv"] = {"bronze-key": Secret("a-key")}
    assert key_vault.secret(wanted("bronze", "bronze-key", cloud="china")) == "a-key"
    assert cloud.refused_hosts == []


def test_a_token_is_asked_for_once_by_all_threads_and_anew_before_it_expires(cloud: Cloud):
    def tokens(client: str) -> int:
        login = entra.service_principal("public", TENANT, client, cloud.client_secret)
        together = threading.Barrier(8)

        def ask() -> str:
            together.wait()
            return login.storage_token("it")

        before = len(cloud.of("token"))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: ask(), range(8)))
        return len(cloud.of("token")) - before

    assert tokens("an-hour") == 1
    cloud.token_seconds = 240
    assert tokens("four-minutes") >= 8, "what expires within five minutes is not given out again"
