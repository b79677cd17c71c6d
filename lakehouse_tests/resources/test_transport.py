import ssl
import traceback
from concurrent.futures import ThreadPoolExecutor

import certifi
import pytest
import requests
from azure.core.exceptions import ServiceRequestError
from azure.core.rest import HttpRequest

from lakehouse_tests.azure_cloud import Cloud
from resources.transport import transport

SIGNATURE = "c2VjcmV0"


@pytest.fixture
def cloud(azure_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    for name, value in azure_cloud.environment().items():
        monkeypatch.setenv(name, value)
    return azure_cloud


def asked(url: str) -> str:
    with transport() as client:
        return client.send(HttpRequest("GET", url, headers={"Connection": "close"})).text()


def test_trusted_certificates_are_read_once_for_all_connections(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    read: list[object] = []
    reads = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *of: (read.append(of), reads(*of)))
    copy = cloud.folder / "read-once.pem"
    copy.write_bytes((cloud.folder / "ca.pem").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(copy))
    with ThreadPoolExecutor(5) as pool:
        assert [*pool.map(asked, ["https://api.ipify.org/"] * 5)] == ["203.0.113.7"] * 5
    assert len(read) == 1


def test_who_shows_a_certificate_that_nobody_vouches_for_is_not_asked(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    with pytest.raises(ServiceRequestError, match="unable to get local issuer certificate"):
        asked("https://company-kv.vault.azure.net/secrets/any")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.delenv("CURL_CA_BUNDLE")
    with pytest.raises(ServiceRequestError, match="unable to get local issuer certificate"):
        asked("https://company-kv.vault.azure.net/secrets/any")
    assert cloud.asked == []


@pytest.mark.parametrize("host", ["https://company-kv.vault.azure.net", "http://127.0.0.1:9"])
def test_where_a_host_is_not_reached_nothing_tells_the_url_and_its_sas_token(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, host: str
):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(ServiceRequestError, match="Connection refused") as unreached:
        asked(f"{host}/lake?sig={SIGNATURE}")
    assert SIGNATURE not in "".join(traceback.format_exception(unreached.value))


def test_who_shows_the_certificate_of_another_host_is_not_asked(cloud: Cloud):
    with pytest.raises(ServiceRequestError, match="Hostname mismatch"):
        asked(f"https://localhost:{cloud.tls_port}/secrets/any")
    assert asked(f"https://127.0.0.1:{cloud.tls_port}/nothing") == "{}", "whose name the certificate has"


def test_a_folder_of_certificates_is_told_as_one(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    told: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda _, *of: told.append(of))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.folder))
    with pytest.raises(ServiceRequestError, match="unable to get local issuer certificate"):
        asked("https://api.ipify.org/")
    assert told == [(None, str(cloud.folder))]


def test_what_requests_itself_trusts_is_trusted(cloud: Cloud):
    assert requests.get("https://api.ipify.org/", timeout=10).text == asked("https://api.ipify.org/")
