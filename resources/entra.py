"""Ways in by Entra: credentials of azure-identity, one of each a process, asked for a token once by all threads."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from typing import TYPE_CHECKING, Any

from lakehouse.engine.declare.errors import LakehouseError, Terminal, Transient
from resources.clouds import CLOUDS, STORAGE_SCOPE, CloudName

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo

NO_LOGIN = "no login was found on this machine"
_NOTHING_THERE = re.compile(r"unavailable|not (be )?(found|installed|available|supported)|to be installed|Please run")
"""In azure-identity's words: a credential had nothing to ask with, and nobody was asked."""


def one_each[**P, R](make: Callable[P, R]) -> Callable[P, R]:
    """As functools.cache, and made once also where threads ask at the same time."""
    made, making = cache(make), Lock()

    @wraps(made)
    def of(*arguments: P.args, **named: P.kwargs) -> R:
        with making:
            return made(*arguments, **named)  # pyright: ignore[reportArgumentType] # hashable, all of them

    return of


class Login:
    """A credential that threads share: one asks, the others wait for its token. It is asked anew before it expires.

    All get the same kind of token, not the one that can be taken back meanwhile, which Azure's clients ask for: what
    deltalake and Polars are given they cannot exchange.
    """

    def __init__(self, credential: Any) -> None:
        self._credential, self._asking = credential, Lock()

    def get_token(self, *scopes: str, **words: Any) -> AccessToken:
        with self._asking:
            return self._credential.get_token(*scopes, **{**words, "enable_cae": False})

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        with self._asking:
            return self._credential.get_token_info(*scopes, options={**(options or {}), "enable_cae": False})

    def close(self) -> None: ...

    def storage_token(self, said: str) -> str:
        """A token that opens storage, good for five minutes at least. Raises Terminal or Transient; `said` is whose."""
        from azure.core.exceptions import AzureError

        try:
            return self.get_token(STORAGE_SCOPE).token
        except AzureError as refused:
            raise no_way_in(said, refused) from refused


def no_way_in(said: str, refused: Exception) -> LakehouseError:
    """What Entra's refusal means for the one who runs this."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError
    from azure.identity import CredentialUnavailableError

    words = in_one_line(refused)
    if isinstance(refused, ServiceRequestError | ServiceResponseError):
        return Transient(f"{said}: the login did not answer ({words}). Nothing was read or written; try again.")
    is_nobody = isinstance(refused, CredentialUnavailableError)
    hint = "Where this runs has no such identity" if is_nobody else "The login was refused"
    way_out = f"{hint}: `lakehouse doctor storage` looks further"
    if words.startswith(NO_LOGIN):
        way_out = "Log in (az login), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET where this runs"
    return Terminal(f"{said}: {words}. {way_out}. Nothing was read or written.")


def in_one_line(refused: Exception) -> str:
    """Azure's words, without their advice. Of a chain those of the credentials that were refused, else their names.

    All that azure-identity says of a chain stands in its log.
    """
    head, *attempts = str(refused).partition("\nTo mitigate")[0].split("\n\t")
    said = [each for each in attempts if "AADSTS" in each or not _NOTHING_THERE.search(each)]
    if attempts and not said:
        names = (each.partition(":")[0].removesuffix("Credential") for each in attempts)
        return f"{NO_LOGIN} (looked for: {', '.join(names)})"
    lines = (line.strip() for each in said or [head] for line in each.splitlines())
    return "; ".join(filter(None, lines)).removesuffix(".")


@one_each
def any_login(cloud: CloudName) -> Login:
    """Whoever this process is: azure-identity's chain of variables, workload and managed identity, and `az login`."""
    from azure.identity import DefaultAzureCredential

    from resources.transport import transport

    return Login(DefaultAzureCredential(authority=CLOUDS[cloud].login, transport=transport()))


@one_each
def service_principal(cloud: CloudName, tenant: str, client: str, secret: str) -> Login:
    from azure.identity import ClientSecretCredential

    from resources.transport import transport

    authority = CLOUDS[cloud].login
    return Login(ClientSecretCredential(tenant, client, secret, authority=authority, transport=transport()))


@one_each
def managed_identity(client: str | None) -> Login:
    from azure.identity import ManagedIdentityCredential

    from resources.transport import transport

    return Login(ManagedIdentityCredential(client_id=client, transport=transport()))


@one_each
def workload_identity(cloud: CloudName, tenant: str | None, client: str | None, file: str | None) -> Login:
    """Raises Terminal where neither the settings nor Azure's variables name what it needs."""
    from azure.identity import WorkloadIdentityCredential

    from resources.transport import transport

    named = {"tenant_id": tenant, "client_id": client, "token_file_path": file}
    given = {name: value for name, value in named.items() if value}
    try:
        return Login(WorkloadIdentityCredential(authority=CLOUDS[cloud].login, transport=transport(), **given))
    except ValueError as missing:
        raise Terminal(
            f"workload_identity needs tenant_id, client_id and token_file: name them beside it, or run where Azure's "
            f"webhook sets AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE. {missing}"
        ) from missing
