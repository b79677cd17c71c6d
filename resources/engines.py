"""One connection to Azure, as other engines want it told. Polars, deltalake and DuckDB take its `address`.

What is returned holds secrets: hand it to the engine, and print none of it.
"""

from __future__ import annotations

from typing import Any, Self

from lakehouse.engine.declare.errors import Terminal
from resources.adls import Adls
from resources.clouds import CLOUDS
from resources.entra import Login


def fsspec_options(adls: Adls) -> dict[str, Any]:
    """For fsspec.filesystem("abfs", **options), which is adlfs: `container/path` names a file."""
    kind, secret = adls.way_in()
    options: dict[str, Any] = {"account_name": adls.account}
    if adls.endpoint or adls.cloud != "public":
        options["account_host"] = adls.account_url().partition("://")[2]
    if isinstance(secret, Login):
        return options | {"credential": _Awaited(secret)}
    return options | {kind: secret}


def spark_conf(adls: Adls) -> dict[str, str]:
    """For `spark.conf.set(name, value)`: Hadoop's ABFS driver, which is also that of Databricks."""
    host = _host(adls)
    auth, kind = adls.auth, "fs.azure.account"
    mode = auth["auth_mode"]
    provider = "org.apache.hadoop.fs.azurebfs.oauth2"
    match mode:
        case "service_principal":
            told = {
                "oauth.provider.type": f"{provider}.ClientCredsTokenProvider",
                "oauth2.client.id": auth["client_id"],
                "oauth2.client.secret": adls.secret(),
                "oauth2.client.endpoint": _token_endpoint(adls),
            }
        case "managed_identity":
            told = {"oauth.provider.type": f"{provider}.MsiTokenProvider"}
            told |= {"oauth2.client.id": auth["client_id"]} if "client_id" in auth else {}
        case "workload_identity":
            told = {"oauth.provider.type": f"{provider}.WorkloadIdentityTokenProvider"}
            names = {"client_id": "client.id", "tenant_id": "msi.tenant", "token_file": "token.file"}
            told |= {f"oauth2.{name}": auth[key] for key, name in names.items() if key in auth}
        case _:
            way, secret = adls.way_in()
            if way == "account_key":
                return {f"{kind}.key.{host}": str(secret)}
            fixed = "org.apache.hadoop.fs.azurebfs.sas.FixedSASTokenProvider"
            told = {"token.provider.type": fixed, "fixed.token": str(secret)}
            return {f"{kind}.auth.type.{host}": "SAS"} | {f"fs.azure.sas.{name}.{host}": told[name] for name in told}
    return {f"{kind}.auth.type.{host}": "OAuth"} | {f"{kind}.{name}.{host}": value for name, value in told.items()}


def spark_path(adls: Adls, *path: str) -> str:
    """Where it lies, as Spark, Databricks and Synapse spell it."""
    return "/".join([f"abfss://{adls.container}@{_host(adls)}", *path])


def synapse_statements(adls: Adls, name: str) -> list[str]:
    """T-SQL that makes a serverless database see the container as external data source `name`; the last makes that.

    Raises Terminal for an account's key, which serverless does not take.
    """
    auth, quoted = adls.auth, f"[{name.replace(']', ']]')}]"
    match auth["auth_mode"]:
        case "managed_identity" | "workload_identity":
            identity, secret = "Managed Identity", None
        case "service_principal":
            identity, secret = f"{auth['client_id']}@{_token_endpoint(adls)}", adls.secret()
        case _:
            kind, found = adls.way_in()
            if kind != "sas_token":
                raise Terminal(
                    f"Connection {adls.connection!r} is opened by the account's key, which Synapse serverless does not "
                    f"take. Give it another way in, in {adls.declared_in}: managed_identity, service_principal, or sas."
                )
            identity, secret = "SHARED ACCESS SIGNATURE", str(found)
    with_secret = f", SECRET = {_literal(secret)}" if secret else ""
    where = f"https://{_host(adls)}/{adls.container}"
    return [
        f"CREATE DATABASE SCOPED CREDENTIAL {quoted} WITH IDENTITY = {_literal(identity)}{with_secret}",
        f"CREATE EXTERNAL DATA SOURCE {quoted} WITH (LOCATION = {_literal(where)}, CREDENTIAL = {quoted})",
    ]


def _host(adls: Adls) -> str:
    return f"{adls.account}.dfs.{CLOUDS[adls.azure_cloud].storage}"


def _token_endpoint(adls: Adls) -> str:
    return f"https://{CLOUDS[adls.azure_cloud].login}/{adls.auth['tenant_id']}/oauth2/token"


def _literal(text: str) -> str:
    return "N'" + text.replace("'", "''") + "'"


class _Awaited:
    """A login as adlfs wants it: it awaits its tokens."""

    def __init__(self, login: Login) -> None:
        self._login = login

    async def get_token(self, *scopes: str, **words: Any) -> Any:
        return self._login.get_token(*scopes, **words)

    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...
