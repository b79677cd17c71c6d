"""What an environment needs of the world, looked at: each finding says what to do where it is not so."""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from lakehouse.engine.declare.errors import LakehouseError
from resources import entra, key_vault
from resources.adls import Adls
from resources.clouds import CLOUDS
from resources.environment import DatabricksWorkspace, Environment, storages
from resources.local_disk import LocalDisk

SECONDS = 10.0
SOON = timedelta(days=21)
TELLS_ADDRESS = "api.ipify.org"
PROBE = "_lakehouse/probe.tmp"  # never listed


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is as it must be, and what was seen; where it is not, what to do."""

    what: str
    is_well: bool
    said: str


def check(environment: Environment) -> Iterator[Finding]:
    """All that the environment names: variables, secrets, containers, certificates, and the address that they see."""
    found = _begun(environment)
    yield from _variables(environment)
    for each in found.values():
        if isinstance(each, Adls) and each.wanted:
            yield _secret(each.wanted)
    for name, each in found.items():
        if isinstance(each, LocalDisk):
            yield _folder(name, each)
        elif each.wanted is None or key_vault.refusal(each.wanted) is None:
            yield _container(name, each)
    hosts = _hosts(environment, found)
    for host in hosts:
        yield certificate(host)
    if hosts:
        yield _egress()


def storage(environment: Environment) -> Iterator[Finding]:
    """The way to each container, step by step; the first step that fails ends it."""
    for name, each in _begun(environment).items():
        if isinstance(each, LocalDisk):
            yield _folder(name, each)
            continue
        for step in _steps_to_container(name, each):
            yield step
            if not step.is_well:
                break


def vault(environment: Environment) -> Iterator[Finding]:
    """The way to each vault and each secret in it."""
    wanted = [each.wanted for each in _begun(environment).values() if isinstance(each, Adls) and each.wanted]
    for name in sorted({each.vault for each in wanted}):
        reached = certificate(f"{name}.{CLOUDS[environment.cloud].vault}")
        yield reached
        if reached.is_well:
            scope = f"https://{CLOUDS[environment.cloud].vault}/.default"
            yield _login(f"login at vault {name}", entra.any_login(environment.cloud), scope)
        for each in wanted:
            if each.vault == name and reached.is_well:
                yield _secret(each)


def _begun(environment: Environment) -> dict[str, LocalDisk | Adls]:
    """The connections, their secrets asked for all at once."""
    found = storages(environment)
    for each in found.values():
        each.begin()
    return found


def _secret(wanted: key_vault.Wanted) -> Finding:
    refused = key_vault.refusal(wanted)
    said = str(refused) if refused else f"is in vault {wanted.vault!r}"
    return Finding(f"secret {wanted.secret} of {wanted.connection}", is_well=not refused, said=said)


def _steps_to_container(name: str, adls: Adls) -> Iterator[Finding]:
    try:
        host = urlsplit(adls.account_url())
    except LakehouseError as unset:
        yield Finding(f"endpoint of {name}", is_well=False, said=str(unset))
        return
    if host.scheme == "https":
        yield certificate(host.hostname or "", host.port or 443)
    try:
        if adls.wanted and (of_this_one := key_vault.refusal(adls.wanted)):
            raise of_this_one
        kind, way = adls.way_in()
    except LakehouseError as refused:
        yield Finding(f"way into {name}", is_well=False, said=str(refused))
        return
    if isinstance(way, entra.Login):
        yield _login(f"way into {name}", way, entra.STORAGE_SCOPE)
    else:
        yield Finding(f"way into {name}", is_well=True, said=f"{kind} from {adls.way_said()}")
    yield _tried(f"engines' way into {name}", adls.address, "nothing else takes its place")
    yield _container(name, adls)
    if name == "lake":
        yield _tried(f"writing to {name}", partial(_write_probe, adls), "a probe was written, read and removed")


def _write_probe(adls: Adls) -> None:
    adls.write(PROBE, b"written by lakehouse doctor")
    adls.read(PROBE)
    adls.remove(PROBE.partition("/")[0])


def _tried(what: str, look: Callable[[], object], well: str) -> Finding:
    try:
        look()
    except LakehouseError as refused:
        return Finding(what, is_well=False, said=str(refused))
    return Finding(what, is_well=True, said=well)


def _container(name: str, adls: Adls) -> Finding:
    where = f"{adls.container} of {adls.account}"
    return _tried(f"container of {name}", lambda: next(adls.pages("*"), None), f"{where} can be listed")


def _folder(name: str, disk: LocalDisk) -> Finding:
    standing = Path(disk.path).resolve()
    while not standing.exists():  # the first write makes it
        standing = standing.parent
    is_well = os.access(standing, os.R_OK | os.W_OK | os.X_OK)
    way_out = "" if is_well else " is not this user's to write: choose another folder, or LAKEHOUSE_HOME"
    return Finding(f"folder of {name}", is_well=is_well, said=f"{disk.path}{way_out}")


def _variables(environment: Environment) -> Iterator[Finding]:
    for name, each in [*environment.connections.items(), ("spark", environment.spark)]:
        for key, variable in each or ():
            if key.endswith("_variable") and variable:
                is_set = bool(os.environ.get(variable))
                said = f"for {name}" if is_set else f"is not set; {name} needs it: export {variable}=..."
                yield Finding(f"variable {variable}", is_well=is_set, said=said)


def _login(what: str, login: entra.Login, scope: str) -> Finding:
    from azure.core.exceptions import AzureError

    try:
        token = login.get_token(scope).token
    except AzureError as refused:
        return Finding(what, is_well=False, said=str(entra.no_way_in("login", refused)))
    middle = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    who = claims.get("upn") or claims.get("appid") or claims.get("azp") or "unknown"
    until = datetime.fromtimestamp(claims["exp"], UTC)
    return Finding(what, is_well=True, said=f"as {who} (object {claims.get('oid')}), until {until:%Y-%m-%d %H:%M} UTC")


def _hosts(environment: Environment, found: dict[str, LocalDisk | Adls]) -> list[str]:
    cloud, hosts = CLOUDS[environment.cloud], set[str]()
    for each in found.values():
        if isinstance(each, Adls):
            if not each.endpoint:
                hosts.add(str(urlsplit(each.account_url()).hostname))
            if each.wanted:
                hosts |= {f"{each.wanted.vault}.{cloud.vault}", cloud.login}
    if isinstance(environment.spark, DatabricksWorkspace):
        hosts.add(str(urlsplit(environment.spark.host).hostname))
    return sorted(hosts)


def certificate(host: str, port: int = 443) -> Finding:
    """Whether a host is reached, by a certificate that this machine trusts and that does not end soon."""
    what = f"certificate of {host}"
    try:
        connection = _connected(host, port)
        ends = (connection.sock.getpeercert() or {}).get("notAfter")
        connection.close()
    except ssl.SSLCertVerificationError as untrusted:
        said = (
            f"is not trusted ({untrusted.verify_message}): give its authority by SSL_CERT_FILE and REQUESTS_CA_BUNDLE"
        )
        return Finding(what, is_well=False, said=said)
    except (OSError, http.client.HTTPException) as unreached:
        said = f"cannot be reached ({unreached}): look at its name, the network, HTTPS_PROXY and the firewall"
        return Finding(what, is_well=False, said=said)
    left = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(ends)), UTC) - datetime.now(UTC)
    said = f"ends in {left.days} days" + ("" if left > SOON else ": have it renewed")
    return Finding(what, is_well=left > SOON, said=said)


def _connected(host: str, port: int) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    proxy = None if proxy_bypass(host) else getproxies().get("https")
    if proxy is None:
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)
    else:
        way = urlsplit(proxy)
        connection = http.client.HTTPSConnection(way.hostname or "", way.port, timeout=SECONDS, context=context)
        connection.set_tunnel(host, port)
    connection.connect()
    return connection


def _egress() -> Finding:
    what = "address that others see"
    try:
        connection = _connected(TELLS_ADDRESS, 443)
        connection.request("GET", "/")
        address = connection.getresponse().read(64).decode("ascii", "replace").strip()
        connection.close()
    except (OSError, http.client.HTTPException) as unreached:
        said = (
            f"{TELLS_ADDRESS} cannot be asked ({unreached}). Ask who keeps the network; firewalls must let it through"
        )
        return Finding(what, is_well=False, said=said)
    return Finding(what, is_well=True, said=f"{address}: let it through the firewalls of accounts and vaults")
