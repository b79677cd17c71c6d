"""Secrets in Azure Key Vault: asked for in the run, all at once, and within one deadline; kept for a while."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from lakehouse.engine.declare.errors import LakehouseError, Terminal, Transient
from lakehouse.engine.declare.near import did_you_mean
from resources.clouds import CLOUDS, CloudName
from resources.entra import any_login, in_one_line, one_each

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError
    from azure.keyvault.secrets import SecretClient

DEADLINE_SECONDS = 30.0
"""For all the secrets that are asked for together."""
KEPT_SECONDS = 600.0
"""So long a secret that was rotated may be used in its old state; where it is refused, it is asked for at once."""
KEPT_REFUSED_SECONDS = 60.0


@dataclass(frozen=True)
class Wanted:
    """A secret of a vault, by their names, and the connection that wants it."""

    connection: str
    vault: str
    secret: str
    cloud: CloudName = "public"
    declared_in: str = "the environment file"


@dataclass
class _Asked:
    wanted: Wanted
    began: float = field(default_factory=time.monotonic)
    answer: Future[SecretStr] = field(default_factory=Future[SecretStr])

    def is_old(self) -> bool:
        age = time.monotonic() - self.began
        refused = self.answer.done() and self.answer.exception() is not None
        return age > (KEPT_REFUSED_SECONDS if refused else KEPT_SECONDS)

    def refusal(self) -> LakehouseError | None:
        """Waits for it, until the deadline at most."""
        try:
            refused = self.answer.exception(max(0.0, self.began + DEADLINE_SECONDS - time.monotonic()))
        except TimeoutError:
            refused = Transient(f"vault {self.wanted.vault!r} did not answer within {DEADLINE_SECONDS:.0f} s")
            with _known:
                if not self.answer.done():
                    self.answer.set_exception(refused)
        if refused is not None and not isinstance(refused, LakehouseError):
            raise refused
        return refused


_asked: dict[Wanted, _Asked] = {}
_known = Lock()


def begin(wanted: Wanted) -> None:
    """Ask for it, unless it is known; do not wait. What one run needs is so asked for all at once."""
    _begun(wanted)


def secret(wanted: Wanted) -> str:
    """The secret itself. Raises Terminal (or Transient, where it may help to try again) with all that are refused."""
    asked = _begun(wanted)
    if asked.refusal() is None:
        return asked.answer.result().get_secret_value()
    with _known:
        together = [each for each in _asked.values() if not each.is_old()]
    refused = {each.wanted: refusal for each in together if (refusal := each.refusal())}
    lines = sorted(f"Connection {each.connection!r}: {refusal}" for each, refusal in refused.items())
    passes = all(isinstance(refusal, Transient) for refusal in refused.values())
    raise (Transient if passes else Terminal)("\n".join([*lines, "Nothing was read or written by it."]))


def refusal(wanted: Wanted) -> LakehouseError | None:
    """Why this secret cannot be had; None where it can."""
    return _begun(wanted).refusal()


def rotated(wanted: Wanted, refused: str) -> bool:
    """Whether the vault holds another secret by now than the one that was `refused`; the next to ask gets that."""
    with _known:
        _asked.pop(wanted, None)
    return secret(wanted) != refused


def _begun(wanted: Wanted) -> _Asked:
    with _known:
        asked = _asked.get(wanted)
        if asked is None or asked.is_old():
            asked = _asked[wanted] = _Asked(wanted)
            # a thread of its own, and no pool's: a vault that hangs shall not hold up the end of the process
            Thread(target=_ask, args=(asked,), daemon=True, name=f"secret of {wanted.connection}").start()
    return asked


def _ask(asked: _Asked) -> None:
    try:
        answer: SecretStr | BaseException = _got(asked.wanted)
    except BaseException as error:  # noqa: BLE001 # it belongs to whoever waits for it
        answer = error
    with _known:
        if asked.answer.done():
            return
        if isinstance(answer, BaseException):
            asked.answer.set_exception(answer)
        else:
            asked.answer.set_result(answer)


def _got(wanted: Wanted) -> SecretStr:
    try:
        from azure.core.exceptions import AzureError
    except ModuleNotFoundError as missing:
        raise Terminal(
            f"its secret is in a key vault, and {missing.name} is not installed. "
            "Install the extra: pip install 'lakehouse[azure]'."
        ) from missing
    try:
        return SecretStr(_client(wanted.vault, wanted.cloud).get_secret(wanted.secret).value or "")
    except AzureError as error:
        raise _sentence(wanted, error) from error
    except ValueError as foreign:  # who answers asks for a token that is not for a vault
        raise Terminal(f"vault {wanted.vault!r} was given no token: {foreign}") from foreign


@one_each
def _client(vault: str, cloud: CloudName) -> SecretClient:
    from azure.keyvault.secrets import SecretClient

    from resources.transport import transport

    patience: dict[str, Any] = {"connection_timeout": 10, "read_timeout": DEADLINE_SECONDS, "retry_total": 2}
    url = f"https://{vault}.{CLOUDS[cloud].vault}"
    return SecretClient(url, any_login(cloud), transport=transport(), **patience)


def _sentence(wanted: Wanted, error: AzureError) -> LakehouseError:
    from azure.core.exceptions import (
        ClientAuthenticationError,
        HttpResponseError,
        ResourceNotFoundError,
        ServiceRequestError,
        ServiceResponseError,
    )

    name, vault = wanted.secret, wanted.vault
    az = f"--vault-name {vault} --name {name}"
    match error:
        case ResourceNotFoundError():
            hint = did_you_mean(name, _names(wanted), repr)
            return Terminal(
                f"Secret {name!r} not found in vault {vault!r}{hint}. Mend secret_name in {wanted.declared_in}, or "
                f"create it: az keyvault secret set {az}."
            )
        case ClientAuthenticationError() if error.status_code != 403:  # noqa: PLR2004 - HTTP's "forbidden"
            return Terminal(
                f"there is no way into vault {vault!r}: {in_one_line(error)}. Log in (az login), or give this process "
                "an identity of Azure, or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET."
            )
        case HttpResponseError(status_code=403) if _inner_code(error) == "SecretDisabled":
            return Terminal(
                f"Secret {name!r} is disabled in vault {vault!r}: enable it (az keyvault secret set-attributes {az} "
                f"--enabled true), or mend secret_name in {wanted.declared_in}."
            )
        case HttpResponseError(status_code=403):
            return Terminal(
                f"Secret {name!r} may not be read in vault {vault!r}: give who runs this the role Key Vault Secrets "
                "User there, or let the vault's firewall through to it."
            )
        case ServiceRequestError() | ServiceResponseError():
            where = f"https://{vault}.{CLOUDS[wanted.cloud].vault}"
            return Transient(
                f"vault {vault!r} cannot be reached at {where} ({type(error).__name__}). Look at key_vault_name in "
                f"{wanted.declared_in}, at the network, and at the vault's firewall; or try again."
            )
        case _:
            status = getattr(error, "status_code", None)
            return Transient(f"vault {vault!r} did not answer as it should ({status} {type(error).__name__}).")


def _inner_code(error: Any) -> str:
    inner = getattr(getattr(error, "error", None), "innererror", None) or {}
    return str(inner.get("code", ""))


def _names(wanted: Wanted) -> list[str]:
    """The secrets of the vault, where who asks may list them."""
    from azure.core.exceptions import AzureError

    try:
        return [each.name for each in _client(wanted.vault, wanted.cloud).list_properties_of_secrets() if each.name]
    except AzureError:
        return []
