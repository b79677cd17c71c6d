"""Azure on this machine, under its own host names: Entra, key vaults, and storage accounts kept by Azurite.

What a child process is given is a proxy and a certificate, nothing else: its clients are Azure's own, unpatched, and
check the vault's challenge. A host that is not here is refused by the proxy, which proves that nobody else is asked.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

import certifi
import trustme

from lakehouse_tests import azurite as azurites
from lakehouse_tests.azurite import Azurite

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

TENANT = "11111111-2222-3333-4444-555555555555"
LOGIN = ("login.microsoftonline.com", "login.chinacloudapi.cn")
VAULTS = (".vault.azure.net", ".vault.azure.cn")
IMDS = ("169.254.169.254", "/metadata/identity/oauth2/token")
"""Where a virtual machine asks for its identity: without TLS, so that `plain_port` as its proxy answers."""
TELLS_ADDRESS = "api.ipify.org"
STORAGE = tuple(f".{kind}.core.{of}" for kind in ("blob", "dfs") for of in ("windows.net", "chinacloudapi.cn"))
ACCOUNTS = ("contosoraw", "contosolake")
CONTAINER = "lake"
UNFIT = "unfit"
"""The managed identity whose tokens no store takes."""
ACCOUNT_KEY = base64.b64encode(b"k" * 64).decode()

type State = Literal["enabled", "disabled", "forbidden"]


@dataclass
class Secret:
    value: str
    state: State = "enabled"


@dataclass
class Cloud:
    """What stands in it, what it is to do wrong, and every request that it was asked."""

    folder: Path
    vaults: dict[str, dict[str, Secret]] = field(default_factory=dict[str, dict[str, Secret]])
    latency_seconds: float = 0
    at_once: Counter[str] = field(default_factory=Counter[str])
    most_at_once: Counter[str] = field(default_factory=Counter[str])
    resource: str = ""
    hung: set[str] = field(default_factory=set[str])
    token_seconds: int = 3600
    stores_take_it_seconds: int | None = None
    """Where not as long as who gets a token is told: so nobody waits five minutes for its end."""
    client_secret: str = "the-client-s-secret"
    identity_header: str = "header"
    asked: list[str] = field(default_factory=list[str])
    issued: list[str] = field(default_factory=list[str])
    """Every token that it gave out."""
    refused_hosts: list[str] = field(default_factory=list[str])
    proxy_port: int = 0
    tls_proxy_port: int = 0
    plain_port: int = 0
    tls_port: int = 0
    azurite: Azurite | None = None
    counting: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    """Set at its end, for what hangs."""

    def reset(self) -> None:
        """As it was when it was made, for the next test."""
        fresh = Cloud(self.folder)
        for name in (
            "vaults",
            "latency_seconds",
            "most_at_once",
            "resource",
            "hung",
            "token_seconds",
            "stores_take_it_seconds",
            "asked",
            "issued",
            "client_secret",
            "identity_header",
            "refused_hosts",
        ):
            setattr(self, name, getattr(fresh, name))

    def environment(self) -> dict[str, str]:
        """What a process needs to be in this cloud, and in no other."""
        bundle = str(self.folder / "ca.pem")
        proxy = f"http://127.0.0.1:{self.proxy_port}"
        return {
            "HTTPS_PROXY": proxy,
            "NO_PROXY": "127.0.0.1,localhost",
            **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), bundle),
        }

    def identity(self) -> dict[str, str]:
        """The managed identity of an app service, as its process is told of it."""
        endpoint = f"http://127.0.0.1:{self.plain_port}/msi/token"
        return {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": self.identity_header}

    def nobody(self) -> dict[str, str]:
        """A machine of Azure's to which no identity was given, as its process is told of it."""
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{self.plain_port}"}

    def run(self, code: str, home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A process of this interpreter, in this cloud, with nothing else in its environment."""
        path = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        surroundings = {**path, "HOME": str(home), "LAKEHOUSE_HOME": str(home), **self.environment(), **variables}
        started = [sys.executable, "-c", code, *arguments]
        return subprocess.run(started, env=surroundings, capture_output=True, text=True, check=False, timeout=120)

    def container(self, account: str, name: str = CONTAINER) -> ContainerClient:
        """For this very process, which is not in the cloud. Close it."""
        from azure.storage.blob import ContainerClient

        assert self.azurite
        url, trusted = f"https://127.0.0.1:{self.azurite.port}/{account}", str(self.folder / "ca.pem")
        return ContainerClient(url, name, credential=ACCOUNT_KEY, connection_verify=trusted)

    def of(self, kind: str) -> list[str]:
        return [each for each in self.asked if each.startswith(kind)]


def token(audience: str, seconds: int) -> str:
    """A JWT as Azurite reads it: nobody checks its signature."""
    now = int(time.time())
    issuer = f"https://sts.windows.net/{TENANT}/"
    claims = {"aud": audience, "iss": issuer, "iat": now - 60, "nbf": now - 60, "exp": now + seconds, "oid": "o"}
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, secrets.token_urlsafe(32)])


def account_sas(account: str) -> str:
    """A SAS token for all that is in an account."""
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    all_of_it = ResourceTypes(service=True, container=True, object=True)
    may = AccountSasPermissions(read=True, write=True, list=True, create=True, delete=True, add=True)
    return generate_account_sas(account, ACCOUNT_KEY, all_of_it, may, datetime.now(UTC) + timedelta(hours=1))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cloud: Cloud

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 # the base's name

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        host = (self.headers["Host"] or "").partition(":")[0]
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if host in LOGIN:
            self._login(host, path, parse_qs(body))
        elif host.endswith(VAULTS):
            self._vault(host, path)
        elif host == TELLS_ADDRESS:
            self._answer(200, "203.0.113.7")
        elif path == "/msi/token" and self.headers["X-IDENTITY-HEADER"] == self.cloud.identity_header:
            is_fit = query.get("client_id") != [UNFIT]
            self._token("managed identity", query["resource"][0] if is_fit else "https://nobody.example")
        elif (host, path) == IMDS and self.headers["Metadata"] == "true":
            self._token("managed identity of the machine", query["resource"][0], text=True)
        elif path == IMDS[1]:
            self._answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
        else:
            self._answer(404, {})

    def _login(self, host: str, path: str, form: Mapping[str, list[str]]) -> None:
        if path.endswith("/discovery/instance"):
            self.cloud.asked.append("entra instance")
            self._answer(200, {"tenant_discovery_endpoint": f"https://{host}/{TENANT}/v2.0/", "metadata": []})
        elif path.endswith("/openid-configuration"):
            self.cloud.asked.append("entra configuration")
            base = f"https://{host}/{TENANT}"
            named = {"issuer": f"{base}/v2.0", "authorization_endpoint": f"{base}/oauth2/v2.0/authorize"}
            self._answer(200, {**named, "token_endpoint": f"{base}/oauth2/v2.0/token"})
        elif "client_secret" in form and form["client_secret"] != [self.cloud.client_secret]:
            self.cloud.asked.append("entra refused")
            said = "AADSTS7000215: Invalid client secret provided."
            self._answer(401, {"error": "invalid_client", "error_description": said, "error_codes": [7000215]})
        else:
            self.cloud.asked.append(f"login {host}")
            way = "workload identity" if "client_assertion" in form else "service principal"
            is_v1 = not path.endswith("/v2.0/token")  # is asked for a resource, and writes its numbers as text
            self._token(way, form["resource" if is_v1 else "scope"][0].removesuffix("/.default"), text=is_v1)

    def _token(self, way: str, audience: str, *, text: bool = False) -> None:
        self.cloud.asked.append(f"token {audience} {way}")
        time.sleep(self.cloud.latency_seconds)
        seconds = self.cloud.token_seconds
        self.cloud.issued.append(token(audience, self.cloud.stores_take_it_seconds or seconds))
        made = {"access_token": self.cloud.issued[-1], "token_type": "Bearer", "resource": audience}
        numbers = {"expires_in": seconds, "expires_on": int(time.time()) + seconds}
        self._answer(200, made | {name: str(number) if text else number for name, number in numbers.items()})

    def _vault(self, host: str, path: str) -> None:
        name = host.partition(".")[0]
        found = re.fullmatch(r"/secrets(?:/([^/]+)/?([^/]*))?", path)
        wanted = found[1] if found else None
        is_known = (self.headers["Authorization"] or "").startswith("Bearer ey")
        self.cloud.asked.append(f"vault {name} {wanted or 'list'} {'with' if is_known else 'without'} token")
        if not is_known:
            resource = self.cloud.resource or f"https://{host.partition('.')[2]}"
            challenge = f'Bearer authorization="https://{LOGIN[0]}/{TENANT}", resource="{resource}"'
            self._answer(401, {"error": {"code": "Unauthorized"}}, challenge)
            return
        while name in self.cloud.hung and not self.cloud.released.wait(0.05):
            pass
        with self.cloud.counting:
            self.cloud.at_once[name] += 1
            self.cloud.most_at_once[name] = max(self.cloud.most_at_once[name], self.cloud.at_once[name])
        time.sleep(self.cloud.latency_seconds)
        with self.cloud.counting:
            self.cloud.at_once[name] -= 1
        held = self.cloud.vaults.get(name, {})
        if wanted is None:
            listed = [{"id": f"https://{host}/secrets/{each}", "attributes": {"enabled": True}} for each in held]
            self._answer(200, {"value": listed, "nextLink": None})
        elif wanted not in held:
            said = f"A secret with (name/id) {wanted} was not found in this key vault."
            self._answer(404, {"error": {"code": "SecretNotFound", "message": said}})
        elif held[wanted].state == "enabled":
            where = f"https://{host}/secrets/{wanted}/0123456789abcdef0123456789abcdef"
            self._answer(200, {"value": held[wanted].value, "id": where, "attributes": {"enabled": True}})
        else:
            inner = "SecretDisabled" if held[wanted].state == "disabled" else "ForbiddenByRbac"
            error = {"code": "Forbidden", "message": "Caller is not authorized", "innererror": {"code": inner}}
            self._answer(403, {"error": error})

    def _answer(self, status: int, content: Any, challenge: str = "") -> None:
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None: ...  # a client that went away


class _Proxy(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True
    cloud: Cloud

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 # the base's name

    def do_CONNECT(self) -> None:
        host = self.path.partition(":")[0]
        azurite = self.cloud.azurite
        if host in (*LOGIN, TELLS_ADDRESS) or host.endswith(VAULTS):
            port = self.cloud.tls_port
        elif host.endswith(STORAGE) and azurite:
            port = azurite.port
        else:
            self.cloud.refused_hosts.append(host)
            self.send_error(403)
            return
        with socket.create_connection(("127.0.0.1", port)) as there:
            there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join()
        self.close_connection = True


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        with suppress(OSError):
            while part := source.recv(65_536):
                target.sendall(part)
    finally:
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _served(handler: type[BaseHTTPRequestHandler], cloud: Cloud, context: ssl.SSLContext | None = None) -> _Server:
    server = _Server(("127.0.0.1", 0), type("Handler", (handler,), {"cloud": cloud}))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextmanager
def started(folder: Path, accounts: tuple[str, ...] = ()) -> Iterator[Cloud]:
    """A cloud with storage `accounts`, each with the key ACCOUNT_KEY; without one no Azurite is started."""
    authority = trustme.CA()
    known = Path(certifi.where()).read_bytes()  # as long as a real one: to read it takes a client 20 ms
    (folder / "ca.pem").write_bytes(known + authority.cert_pem.bytes())
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    hosts = [*LOGIN, TELLS_ADDRESS, *(f"*{suffix}" for suffix in (*VAULTS, *STORAGE))]
    certificate = authority.issue_cert(*hosts, "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    cloud = Cloud(folder)
    servers = [_served(handler, cloud, how) for handler in (_Handler, _Proxy) for how in (context, None)]
    ports = (server.server_address[1] for server in servers)
    cloud.tls_port, cloud.plain_port, cloud.tls_proxy_port, cloud.proxy_port = ports
    if accounts:
        cloud.azurite = azurites.start(
            arguments=["--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"), "--oauth", "basic"],
            accounts=dict.fromkeys(accounts, ACCOUNT_KEY),
            variables=cloud.environment(),  # it asks the source of a copy by its name, where that has a SAS token
        )
    for account in accounts:
        with cloud.container(account) as container:
            container.create_container()
    try:
        yield cloud
    finally:
        cloud.released.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        if cloud.azurite:
            cloud.azurite.stop()
