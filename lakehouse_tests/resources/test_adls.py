import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import dagster as dg
import pytest

from lakehouse.engine.declare.errors import Terminal, Transient
from lakehouse.engine.declare.ports import Found
from lakehouse_tests.azurite import A_KEY
from resources.adls import Adls, SettingMissing, _files_of

KEY = "c2VjcmV0LXRoYXQtbXVzdC1uZXZlci1iZS1zaG93bg=="


def contoso(**other) -> Adls:
    return Adls(account="contoso", container="lake", auth=A_KEY, declared_in="production.yaml", **other)


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_an_address_on_azure_is_abfss_with_the_key_in_its_options(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    address = contoso().address("silver", "orders")
    assert address.uri == "abfss://lake@contoso.dfs.core.windows.net/silver/orders"
    assert dict(address.options) == {
        "account_name": "contoso",
        "account_key": KEY,
        "endpoint": "https://contoso.blob.core.windows.net",
        "allow_http": "false",
        "skip_signature": "false",
        "use_emulator": "false",
    }
    assert not address.is_local


def test_an_endpoint_of_its_own_is_told_to_deltalake_and_polars(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setenv("A_PORT", "10000")
    adls = contoso(endpoint="http://127.0.0.1:{port}/contoso", port_variable="A_PORT")
    options = adls.address("silver").options
    assert (options["endpoint"], options["allow_http"]) == ("http://127.0.0.1:10000/contoso", "true")
    assert all(isinstance(value, str) for value in options.values())


def test_the_key_is_never_shown(monkeypatch, caplog):
    monkeypatch.setenv("A_KEY", KEY)
    adls = contoso()
    address = adls.address("silver")
    texts = [repr(adls), str(adls), repr(address), str(address), f"{address / 'orders'!r}", adls.model_dump_json()]
    assert not [text for text in texts if KEY in text]


def test_a_run_that_uses_the_storage_logs_no_key(monkeypatch, capfd, caplog):
    monkeypatch.setenv("A_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    @dg.asset
    def uses_it(context: dg.AssetExecutionContext, lake: Adls) -> None:
        address = lake.address("silver")
        context.log.info("%r %r", lake, address)
        context.add_output_metadata({"where": str(address)})

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([uses_it], resources={"lake": contoso()}, instance=instance)
        events = "".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert "abfss://lake@contoso" in events
    said = capfd.readouterr()
    assert KEY not in events + said.out + said.err + caplog.text


def test_a_missing_key_names_variable_file_and_way_out(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    for ask in (lambda: contoso().address("silver"), lambda: contoso().files("*.csv"), lambda: contoso().read("a.csv")):
        with pytest.raises(SettingMissing, match=r"A_KEY is not set.*account contoso.*production\.yaml.*export A_KEY="):
            ask()


def test_a_missing_port_names_its_variable(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    adls = contoso(endpoint="http://127.0.0.1:{port}/contoso", port_variable="A_PORT")
    with pytest.raises(SettingMissing, match="A_PORT is not set; it holds the port"):
        adls.address("silver")


def test_the_uri_of_a_table_needs_no_key(monkeypatch):
    monkeypatch.delenv("A_KEY", raising=False)
    assert contoso().uri("silver", "orders") == "abfss://lake@contoso.dfs.core.windows.net/silver/orders"


def test_a_key_that_is_none_is_refused_without_being_shown(monkeypatch):
    wrong = "c2VjcmV0LXRoYXQ cut in the middle"
    monkeypatch.setenv("A_KEY", wrong)
    with pytest.raises(Terminal, match="A_KEY holds is no storage key") as caught:
        contoso().files("*.csv")
    assert "c2VjcmV0" not in shown(caught.value)


@pytest.mark.azurite
def test_a_foreign_key_is_refused_with_the_places_to_look_at_and_not_shown(azurite, new_container, monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    adls = Adls(
        account=azurite.account,
        container=new_container(),
        auth=A_KEY,
        endpoint=azurite.endpoint,
        declared_in="x.yaml",
    )
    for refused in (lambda: adls.files("*"), lambda: adls.read("a.csv"), lambda: adls.write("a.csv", b"")):
        with pytest.raises(Terminal, match=r"refused \(40[03].*x\.yaml.*A_KEY") as caught:
            refused()
        assert KEY not in shown(caught.value)


@pytest.mark.azurite
def test_a_container_that_is_not_there_is_a_mistake_in_the_settings(azurite, monkeypatch):
    monkeypatch.setenv("A_KEY", azurite.key)
    adls = Adls(account=azurite.account, container="nowhere", auth=A_KEY, endpoint=azurite.endpoint)
    for asked in (lambda: adls.files("*"), lambda: adls.read("a.csv"), lambda: adls.write("a.csv", b"")):
        with pytest.raises(Terminal, match="There is no container nowhere of http://127"):
            asked()


@pytest.mark.azurite
def test_a_listing_of_several_pages_is_whole_and_asks_for_each_once(azurite, new_container, monkeypatch):
    from azure.core.pipeline.transport import RequestsTransport

    monkeypatch.setenv("A_KEY", azurite.key)
    adls = Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)
    for number in range(7):
        adls.write(f"many/{number}.csv", b"x")
    monkeypatch.setattr("resources.adls.FILES_PER_PAGE", 2)
    asked: list[str] = []
    sent = RequestsTransport.send

    def counted(self, request, **kwargs):
        asked.append(f"{request.method} {urlsplit(request.url).path.removeprefix(f'/{azurite.account}/')}")
        return sent(self, request, **kwargs)

    monkeypatch.setattr(RequestsTransport, "send", counted)
    assert [found.name for found in adls.files("many/*.csv")] == [f"many/{number}.csv" for number in range(7)]
    assert asked == [f"GET {adls.container}"] * 4, "each page is asked for once, and no blob"
    asked.clear()
    assert adls.read("many/0.csv") == b"x"
    assert asked == [f"GET {adls.container}/many/0.csv"]


@dataclass
class Page:
    """A page of a listing, as Azure answers it: Azurite encodes no name."""

    content: str
    content_type: str = "application/xml"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/xml"})

    def text(self, _encoding: str | None = None) -> str:
        return self.content


def test_a_name_that_xml_cannot_hold_is_listed_as_it_is():
    facts = (
        "<Properties><Last-Modified>Sun, 22 Nov 2026 02:48:31 GMT</Last-Modified><Etag>0x1</Etag>"
        "<Content-Length>3</Content-Length></Properties>"
    )
    names = "<Name>50%25.csv</Name>", '<Name Encoded="true">a%EF%BF%BE.csv</Name>'
    blobs = "".join(f"<Blob>{name}{facts}</Blob>" for name in names)
    page = Page(
        f"<?xml version='1.0' encoding='utf-8'?><EnumerationResults><Blobs>{blobs}</Blobs></EnumerationResults>"
    )
    at = datetime(2026, 11, 22, 2, 48, 31, tzinfo=UTC)
    assert [*_files_of(page)] == [Found("50%25.csv", 3, at, "0x1"), Found("a\ufffe.csv", 3, at, "0x1")]


@pytest.mark.azurite
def test_the_folders_of_a_hierarchical_account_are_no_files(azurite, new_container, monkeypatch):
    from azure.storage.blob import ContainerClient

    monkeypatch.setenv("A_KEY", azurite.key)
    adls = Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)
    with ContainerClient(azurite.endpoint, adls.container, credential=azurite.key) as container:
        container.upload_blob("erp/orders", b"", metadata={"hdi_isfolder": "true"})
    adls.write("erp/orders.csv", b"x")
    assert [found.name for found in adls.files("erp/*")] == ["erp/orders.csv"]


@pytest.mark.azurite
def test_a_file_bears_an_etag_that_changes_with_it(azurite, new_container, monkeypatch):
    monkeypatch.setenv("A_KEY", azurite.key)
    adls = Adls(account=azurite.account, container=new_container(), auth=A_KEY, endpoint=azurite.endpoint)
    adls.write("a.csv", b"1")
    (first,) = adls.files("a.csv")
    adls.write("a.csv", b"2")
    (second,) = adls.files("a.csv")
    assert first.etag
    assert first.etag != second.etag


def test_a_server_that_does_not_answer_may_be_asked_again(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setattr("azure.storage.blob._shared.policies.StorageRetryPolicy.sleep", lambda *_: None)
    with pytest.raises(Transient, match=r"^Connection .lake.: .* cannot be reached \(.*Connection refused\)"):
        contoso(endpoint="http://127.0.0.1:9/contoso").files("*")
