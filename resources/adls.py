"""A container of a storage account on Azure (ADLS Gen2), as a storage. Secrets are asked for in the run."""

import atexit
import os
from base64 import b64decode
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

import dagster as dg
from pydantic import Field

from lakehouse.engine.declare.errors import FileGone, LakehouseError, Terminal, Transient
from lakehouse.engine.declare.ports import Address, Found, Switch
from resources import entra, key_vault, redaction
from resources.clouds import CLOUDS, CloudName
from resources.pattern import checked, literal_head, matches, segments

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.core.pipeline import PipelineResponse
    from azure.storage.blob import BlobServiceClient, ContainerClient

FILES_PER_PAGE = 5_000  # the most that Azure gives
# what Azure documents as worth another try; what it refuses will be refused again
PASSING_STATUS = {408, 409, 412, 429, 500, 502, 503, 504}
REFUSED_STATUS = {400, 401, 403}
_TOKENS = ("AZURE_STORAGE_TOKEN",)
_KEYS = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY")
_PRINCIPALS = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_CLIENT_SECRET")
HELD = {"direct_key": "account_key", "sas": "sas_token", "service_principal": "client_secret"}
"""What is kept in a variable or in the file, by auth_mode."""
PREFERRED = {"bearer_token": (), "account_key": _TOKENS, "sas_token": (*_TOKENS, *_KEYS, *_PRINCIPALS)}


class SettingMissing(Terminal):
    """An environment variable that the run needs is not set."""


class Adls(dg.ConfigurableResource):
    """The container of an account, and the way in: `auth`, as a connection of an environment file says it.

    `endpoint` is for an account elsewhere than at its cloud's own hosts; its `{port}` comes from `port_variable`.
    """

    account: str
    container: str
    auth: dict[str, str]
    endpoint: str | None = None
    port_variable: str | None = None
    cloud: str = "public"
    connection: str = "lake"
    switches: dict[str, str] = Field(default={}, description="Of tables that read from here, where they are not on.")
    declared_in: str = "the environment file"

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002 # Dagster's signature
        """What a run needs of vaults is asked for all together, while it begins."""
        self.begin()

    def switch(self, table: str) -> Switch:
        return self.switches.get(table, "on")  # pyright: ignore[reportReturnType] # one of those, as the file was read

    def begin(self) -> None:
        """Ask for what is in a vault, and do not wait for it."""
        if wanted := self.wanted:
            key_vault.begin(wanted)

    def uri(self, *path: str) -> str:
        """Where the table at `path` lies, without opening or asking for anything.

        At the public cloud's host in every cloud: the store that deltalake and Polars use knows no other, and asks at
        the endpoint that it is told.
        """
        return "/".join([f"abfss://{self.container}@{self.account}.dfs.core.windows.net", *map(checked, path)])

    def address(self, *path: str) -> Address:
        """Asks for the way in: call it in the run. Raises Terminal (SettingMissing) or Transient."""
        kind, way = self.way_in()
        self._refuse_others(kind)
        url = self.account_url()
        # also what is as it would be: else a variable would say it
        told = {"endpoint": url, "allow_http": str(url.startswith("http://")).lower()}
        told |= dict.fromkeys(("skip_signature", "use_emulator"), "false")
        options = {"account_name": self.account, **told}
        if isinstance(way, entra.Login):
            token = _Token(way, self._said)
            refused = partial(self._refused_to_engines, way, token())  # what is refused is told here
            return Address(self.uri(*path), options, token=token, refused=refused)
        return Address(self.uri(*path), options | {kind: way}, refused=partial(self._refused_to_engines, way, way))

    def _refuse_others(self, kind: str) -> None:
        """Variables that the store under deltalake and Polars takes, and prefers to what it is told."""
        if others := [name for name in PREFERRED[kind] if name in os.environ]:
            raise Terminal(
                f"{self._said}: {' and '.join(others)} is set, and the store under deltalake and Polars would take it "
                f"instead of {self.way_said()}. Unset it where the run is started, or choose another auth_mode in "
                f"{self.declared_in}. Nothing was read or written."
            )

    def files(self, pattern: str) -> list[Found]:
        """One listing of the names that begin like the pattern, then those that fit it."""
        found = chain.from_iterable(page for page, _ in self.pages(pattern))
        return sorted(found, key=lambda file: file.name)

    def pages(self, pattern: str, after: str = "") -> Generator[tuple[list[Found], str]]:
        """A page is one request."""
        segments(pattern)  # refuses here what can never be meant, also where no name begins like it
        found: list[Found] = []

        def hear(page: "PipelineResponse[Any, Any]") -> None:
            if page.http_response.status_code == 200:  # noqa: PLR2004 - HTTP's "OK"; else it is tried again
                found.extend(file for file in _files_of(page.http_response) if matches(pattern, file.name))

        with self._opened() as container:
            # Not list_blobs, which costs 37 s of CPU for 100,000 blobs: it makes objects of all that is known of each.
            pages: Any = container.list_blob_names(
                name_starts_with=literal_head(pattern) or None,
                include=["metadata"],
                raw_response_hook=hear,
                results_per_page=FILES_PER_PAGE,
            ).by_page(after or None)
            for _ in pages:
                page, found = found, []
                yield page, pages.continuation_token or ""

    def read(self, name: str) -> bytes:
        with self._opened(checked(name)) as container:
            return container.download_blob(name).readall()

    def write(self, name: str, content: bytes) -> None:
        """Committed at once: a reader sees the old bytes or the new ones."""
        with self._opened(checked(name)) as container:
            container.upload_blob(name, content, overwrite=True)

    def folders(self, *path: str) -> list[str]:
        head = "".join(f"{checked(each)}/" for each in path)
        with self._opened() as container:
            below = {each.name.removeprefix(head).partition("/") for each in container.walk_blobs(head)}
        return sorted(name for name, slash, _ in below if slash)

    def remove(self, *path: str) -> None:
        """One blob after the other, the deepest first: where a folder is a blob too, it must be empty."""
        from azure.core.exceptions import ResourceNotFoundError

        folder = checked("/".join(path))
        with self._opened() as container:
            names = sorted((each.name for each in container.list_blobs(f"{folder}/")), key=len, reverse=True)
            for name in [*names, *([folder] if names else [])]:
                with suppress(ResourceNotFoundError):
                    container.delete_blob(name)

    def way_in(self) -> tuple[str, str | entra.Login]:
        """`account_key` or `sas_token` with the text, or `bearer_token` with who gets one.

        Raises SettingMissing, or what the vault says.
        """
        auth, mode = self.auth, self.auth["auth_mode"]
        if mode == "managed_identity":
            return "bearer_token", entra.managed_identity(auth.get("client_id"))
        if mode == "workload_identity":
            named = (auth.get(name) for name in ("tenant_id", "client_id", "token_file"))
            return "bearer_token", entra.workload_identity(self.azure_cloud, *named)
        secret = self.secret()
        if mode == "service_principal":
            login = entra.service_principal(self.azure_cloud, auth["tenant_id"], auth["client_id"], secret)
            return "bearer_token", login
        kind = auth.get("secret_holds") or HELD[mode]
        return kind, self._key(secret) if kind == "account_key" else self._sas(secret.removeprefix("?"))

    def secret(self) -> str:
        """What the way in needs: a key, a token, or the secret of a service principal. Raises as `way_in` does."""
        wanted = self.wanted
        secret = key_vault.secret(wanted) if wanted else self._setting(self.auth["auth_mode"])
        redaction.keep(secret)
        return secret

    def account_url(self) -> str:
        if not self.endpoint:
            return f"https://{self.account}.blob.{CLOUDS[self.azure_cloud].storage}"
        if not self.port_variable:
            return self.endpoint
        return self.endpoint.replace("{port}", self._variable(self.port_variable, "the port"))

    @property
    def azure_cloud(self) -> CloudName:
        return self.cloud  # pyright: ignore[reportReturnType] # one of those, as the environment file was read

    @property
    def _said(self) -> str:
        return f"Connection {self.connection!r}"

    @property
    def wanted(self) -> key_vault.Wanted | None:
        """The secret of a vault that it needs, if it needs one."""
        vault, name = self.auth.get("key_vault_name"), self.auth.get("secret_name")
        return (
            key_vault.Wanted(self.connection, vault, name, self.azure_cloud, self.declared_in)
            if vault and name
            else None
        )

    @contextmanager
    def _opened(self, name: str = "") -> Iterator["ContainerClient"]:
        """The container; Azure's errors come out as ours."""
        try:
            from azure.core.exceptions import AzureError

            kind, secret = self.way_in()
            account = _account(self.account_url(), kind, secret, self._said)
        except ModuleNotFoundError as missing:
            raise Terminal(
                f"{self.declared_in} keeps {self.container} on Azure, and {missing.name} is not installed. "
                "Install the extra: pip install 'lakehouse[azure]'."
            ) from missing
        try:
            yield account.get_container_client(self.container)
        except AzureError as error:
            raise self._translated(error, name, secret) from error

    def _translated(self, error: "AzureError", name: str, secret: str | entra.Login) -> LakehouseError:
        status = getattr(error, "status_code", None)
        code = str(getattr(error, "error_code", None) or type(error).__name__)
        where = f"{self.container} of {self.account_url()}"
        if status == 404 and name and code != "ContainerNotFound":  # noqa: PLR2004 - HTTP's "not found"
            return FileGone(f"{name} is no longer in {where}.")
        if code in ("ClientAuthenticationError", "CredentialUnavailableError"):
            return entra.no_way_in(self._said, error)
        if status is None or status in PASSING_STATUS:
            return Transient(
                f"{where} did not answer as it should ({code}). Nothing is known to have changed; try again."
            )
        return self._refused(secret, status, code)

    def _refused_to_engines(self, way: str | entra.Login, given: str, status: int, code: str) -> LakehouseError:
        refused = self._refused(way, status, code)
        if isinstance(way, entra.Login) and way.storage_token(self._said) != given:
            return Transient(f"{self._said}: refused ({status} {code}): its token expired meanwhile. Try again.")
        return type(refused)(f"{self._said}: {refused} `lakehouse doctor storage` looks further.")

    def _refused(self, secret: str | entra.Login, status: int, code: str) -> LakehouseError:
        where, wanted = f"{self.container} of {self.account_url()}", self.wanted
        if code == "ContainerNotFound":
            return Terminal(f"There is no container {where}. Create it, or mend {self.declared_in}.")
        if wanted and isinstance(secret, str) and status in REFUSED_STATUS and key_vault.rotated(wanted, secret):
            return Transient(f"{where} refused ({status} {code}): its secret was rotated meanwhile. Try again.")
        return Terminal(
            f"{where} refused ({status} {code}). Look at account, container and endpoint in {self.declared_in}, "
            f"and at {self.way_said()}."
        )

    def way_said(self) -> str:
        """What opens it, for a person: where it is kept, never what it is."""
        auth = self.auth
        vault = auth.get("key_vault_name")
        variable = next((value for name, value in auth.items() if name.endswith("_variable")), None)
        if "tenant_id" in auth or auth["auth_mode"].endswith("identity"):
            return "the role of who runs this: Storage Blob Data Contributor, of the container"
        return (
            f"secret {auth['secret_name']!r} in vault {vault!r}" if vault else f"what {variable or 'that file'} holds"
        )

    def _setting(self, mode: str) -> str:
        """The secret that a variable holds or, in `local`, the environment file itself."""
        name = HELD[mode]
        meaning = {
            "account_key": f"the key of the storage account {self.account}",
            "sas_token": f"a SAS token for {self.container} of the storage account {self.account}",
            "client_secret": f"the secret of the application {self.auth.get('client_id')}",
        }[name]
        if variable := self.auth.get(f"{name}_variable"):
            return self._variable(variable, meaning)
        from resources.environment import literal

        return literal(self.declared_in, self.connection, name)

    def _key(self, key: str) -> str:
        try:
            b64decode(key, validate=True)
        except ValueError:
            # from None: what is no Base64 may still be most of a key, and a library further down quotes it
            problem = (
                f"{self._said}: {self.way_said()} is no storage key. A key is Base64 text, as the portal shows it."
            )
            raise Terminal(problem) from None
        return key

    def _sas(self, token: str) -> str:
        """What is none, Azure's clients would log as part of a URL: they know by its name what to leave out."""
        if not parse_qs(token).get("sig") or not token.isprintable() or " " in token:
            raise Terminal(
                f"{self._said}: {self.way_said()} is no SAS token. It is one line, sv=...&sig=..., "
                "as the portal shows it."
            )
        return token

    def _variable(self, variable: str, meaning: str) -> str:
        value = os.environ.get(variable)
        if not value:
            raise SettingMissing(
                f"{variable} is not set; it holds {meaning} ({self.declared_in}). Set it where the run is started "
                f"(export {variable}=...), or name another variable in that file. Nothing was read or written."
            )
        return value


@dataclass(frozen=True)
class _Token:
    login: entra.Login
    said: str

    def __call__(self) -> str:
        token = self.login.storage_token(self.said)
        redaction.keep(token)
        return token


@cache
def _account(url: str, kind: str, secret: str | entra.Login, said: str) -> "BlobServiceClient":
    """Open until the process ends: a client for each file costs its connection (and TLS) anew, and twice the CPU."""
    from azure.core.credentials import AzureSasCredential
    from azure.storage.blob import BlobServiceClient

    from resources.transport import transport

    if isinstance(secret, entra.Login):  # Azure's client tries a login that is refused again for two minutes
        secret.storage_token(said)
    redaction.keep_signatures_out_of_logs()
    credential: Any = AzureSasCredential(secret) if kind == "sas_token" and isinstance(secret, str) else secret
    opened = BlobServiceClient(url, credential=credential, transport=transport())
    atexit.register(opened.close)
    return opened


def _files_of(page: Any) -> Iterator[Found]:
    """What one page of a listing tells. A hierarchical namespace lists folders too, and says so in their metadata."""
    from azure.core.pipeline.policies import ContentDecodePolicy

    for blob in ContentDecodePolicy.deserialize_from_http_generics(page).iter("Blob"):
        if blob.findtext("Metadata/hdi_isfolder") != "true":
            name = blob.find("Name")
            is_encoded = name.get("Encoded") == "true"  # of what XML cannot hold
            facts = blob.find("Properties")
            yield Found(
                unquote(name.text) if is_encoded else name.text,
                int(facts.findtext("Content-Length")),
                _time(facts.findtext("Last-Modified")),
                facts.findtext("Etag"),
            )


@lru_cache(1_000)
def _time(text: str) -> datetime:
    """Many files of one second have one text."""
    return parsedate_to_datetime(text)
