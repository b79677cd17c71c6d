"""A store that refuses the way in: said at once by whatever is asked, in one sentence, and tried again by nobody."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from lakehouse.engine.declare.errors import Terminal, Transient
from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta import store
from lakehouse.engine.delta.files import write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.refused import told_where_refused
from lakehouse_tests.azurite import A_KEY, Azurite
from lakehouse_tests.shares import House, counts, slips
from resources.adls import Adls
from resources.delta_io_manager import DeltaIOManager
from resources.entra import Login
from resources.local_disk import LocalDisk
from resources.no_spark import NoSpark

pytestmark = pytest.mark.azurite

WRONG_KEY = base64.b64encode(b"x" * 64).decode()
EXPIRED = "sv=2021-08-06&ss=b&srt=sco&sp=rwdlac&se=2020-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"
A_SAS = {"auth_mode": "sas", "sas_token_variable": "A_SAS"}
ROWS = pl.DataFrame({"a": [1]})
SAID = (
    "Connection 'shop': {0} of {1} refused (403 AuthorizationFailure). Look at account, container and endpoint in "
    "company.yaml, and at what {2} holds. `lakehouse doctor storage` looks further."
)


@pytest.fixture
def lake(azurite: Azurite, new_container: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Adls:
    """With the right key in A_KEY, and a token that has expired in A_SAS."""
    monkeypatch.setenv("A_KEY", azurite.key)
    monkeypatch.setenv("A_SAS", EXPIRED)
    words: dict[str, Any] = {"connection": "shop", "declared_in": "company.yaml"}
    return Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint, **words)


@pytest.fixture(params=["A_KEY", "A_SAS"])
def variable(request: pytest.FixtureRequest) -> str:
    """What holds no way in any more."""
    return request.param


def other(lake: Adls, **words: Any) -> Adls:
    return Adls(**{**lake.model_dump(), **words})


def shut(lake: Adls, variable: str, monkeypatch: pytest.MonkeyPatch) -> Adls:
    monkeypatch.setenv("A_KEY", WRONG_KEY)
    return other(lake, auth=A_SAS) if variable == "A_SAS" else lake


def test_whatever_asks_a_store_that_refuses_says_connection_account_container_and_way_out(
    lake: Adls, variable: str, monkeypatch: pytest.MonkeyPatch
):
    standing = Handle.create(lake.address("silver", "orders"), ROWS.schema)
    [file] = write_files(standing, ROWS)
    let_in = standing.address
    address = shut(lake, variable, monkeypatch).address("silver", "orders")

    def by_polars() -> None:
        with told_where_refused(lambda: address):
            replace_address(standing, address).scan_paths([file.path]).collect()

    for asks in (
        lambda: Handle.open(address),
        lambda: Handle.open(address, 0),
        lambda: Handle.create(address / "new", ROWS.schema),
        lambda: store.read(address, ["_delta_log/00000000000000000000.json"]),
        lambda: store.create(address, "_delta_log/00000000000000000001.json", b"{}"),
        lambda: write_files(replace_address(standing, address), ROWS),
        lambda: replace_address(standing, address).commit([file], [], {}, {}),
        by_polars,
    ):
        with pytest.raises(Terminal) as refused:
            asks()
        code = "AuthorizationFailure" if asks is not by_polars else "Forbidden"  # to a HEAD nothing more is answered
        said = SAID.format(lake.container, lake.endpoint, variable).replace("AuthorizationFailure", code)
        assert str(refused.value) == said
    known = Handle.open(let_in)
    assert known is not None
    assert known.version == 0, "nothing was committed"


def replace_address(handle: Handle, address: Address) -> Handle:
    """The handle of one whose way in was shut meanwhile."""
    same = handle.leaving_out(("none",))
    same.address = address
    return same


def test_a_container_that_is_not_there_is_a_mistake_in_the_settings(lake: Adls):
    nowhere = other(lake, container="nowhere")
    with pytest.raises(Terminal, match=r"There is no container nowhere of http://127.*company\.yaml"):
        Handle.open(nowhere.address("silver", "orders"))


def test_a_file_on_another_account_is_not_told_as_one_of_this(lake: Adls, monkeypatch: pytest.MonkeyPatch):
    address = shut(lake, "A_KEY", monkeypatch).address("silver", "orders")
    other = replace(address, uri=address.uri.replace(lake.container, "another-one"))
    with pytest.raises(PermissionError), told_where_refused(lambda: other):
        pl.scan_parquet(f"{address}/a.parquet", storage_options=dict(address.options)).collect()


def test_a_secret_that_was_rotated_meanwhile_is_tried_again(lake: Adls, monkeypatch: pytest.MonkeyPatch):
    in_vault = {
        "auth_mode": "key_vault",
        "key_vault_name": "company-kv",
        "secret_name": "lake-key",
        "secret_holds": "account_key",
    }
    monkeypatch.setattr("resources.key_vault.secret", lambda _: WRONG_KEY)
    address = other(lake, auth=in_vault).address("silver", "orders")
    for is_another, kind in ((True, Transient), (False, Terminal)):
        monkeypatch.setattr("resources.key_vault.rotated", lambda _, refused, is_another=is_another: is_another)
        with pytest.raises(kind, match=r"^Connection 'shop': .* refused \(403 "):
            Handle.open(address)


class Tokens:
    """Gives out the tokens of a list one after the other, the last for ever."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = [*tokens]

    def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken(self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0], 0)


@pytest.mark.parametrize(("tokens", "kind"), [(("old", "new"), Transient), (("one",), Terminal)])
def test_a_token_that_expired_meanwhile_is_tried_again(
    lake: Adls, tokens: tuple[str, ...], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("resources.entra.managed_identity", lambda _: Login(Tokens(*tokens)))
    address = other(lake, auth={"auth_mode": "managed_identity"}).address("silver", "orders")
    with pytest.raises(kind, match=r"^Connection 'shop': .*refused \(40[13] "):
        Handle.open(address)


def test_a_token_that_may_only_read_is_told_as_refused_where_it_writes(
    lake: Adls, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
):
    standing = Handle.create(lake.address("silver", "orders"), ROWS.schema)
    files = write_files(standing, ROWS)
    of_all, hour = ResourceTypes(service=True, container=True, object=True), datetime.now(UTC) + timedelta(hours=1)
    may = AccountSasPermissions(read=True, list=True)
    monkeypatch.setenv("A_SAS", generate_account_sas(azurite.account, azurite.key, of_all, may, hour))
    address = other(lake, auth=A_SAS).address("silver", "orders")
    handle = Handle.open(address)
    assert handle is not None
    wider = pl.Schema({"a": pl.Int64, "b": pl.Int64})
    for asks in (
        lambda: Handle.create(address / "new", ROWS.schema),
        lambda: handle.commit(files, [], {}, {}),
        lambda: handle.commit([], [], {}, {}, schema=wider),
        lambda: write_files(handle, ROWS),
    ):
        with pytest.raises(Terminal, match=r"^Connection 'shop': .* refused \(403 .*A_SAS holds"):
            asks()


def run(lake: Adls, home: Path, selection: str) -> tuple[list[str], str]:
    """The kinds of event of a run, and why it failed; nothing where it did not."""
    landing = LocalDisk(path=str(home / "landing"))
    resources = {"landing": landing, "lake": lake, "io_manager": DeltaIOManager(lake=lake)}
    result = dg.materialize([slips, counts], selection=selection, resources=resources, raise_on_error=False)
    failed = [each.step_failure_data for each in result.all_events if each.is_step_failure]
    why = [each.user_failure_data.description for each in failed if each.user_failure_data]
    return [each.event_type_value for each in result.all_events], "\n".join(map(str, why))


def test_a_run_that_is_refused_fails_at_once_with_that_sentence(
    lake: Adls, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    House(tmp_path, NoSpark(declared_in="company.yaml"), lake).land("1", a=1)
    assert run(lake, tmp_path, "*")[1] == ""
    is_shut = shut(lake, variable, monkeypatch)
    for selection in ("bronze/slips", "silver/counts"):
        events, why = run(is_shut, tmp_path, selection)
        assert why == SAID.format(lake.container, lake.endpoint, variable)
        assert "STEP_UP_FOR_RETRY" not in events


@pytest.mark.parametrize("unreadable", ["bronze/slips", "silver/counts"])  # as its step reads, and as it is merged
def test_a_run_whose_rows_may_not_be_read_any_more_fails_at_once_with_that_sentence(
    lake: Adls, unreadable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    house = House(tmp_path, NoSpark(declared_in="company.yaml"), lake)
    house.land("1", a=1)
    assert run(lake, tmp_path, "*")[1] == ""
    house.land("2", a=2)
    assert run(lake, tmp_path, "bronze/slips")[1] == ""

    def refused(address: Address) -> dict[str, Any]:
        wrong = {"account_key": WRONG_KEY} if address.uri.endswith(unreadable) else {}
        return {"storage_options": {**address.options, **wrong}}

    monkeypatch.setattr("lakehouse.engine.delta.scan.for_polars", refused)
    events, why = run(lake, tmp_path, "silver/counts")
    assert why == SAID.format(lake.container, lake.endpoint, "A_KEY").replace("AuthorizationFailure", "Forbidden")
    assert "STEP_UP_FOR_RETRY" not in events
