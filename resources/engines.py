"""One connection to Azure, as other engines want it told. Polars, deltalake and DuckDB take its `address`.

What is returned holds secrets: hand it to the engine, and print none of it.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Self

from lakehouse.engine.declare.errors import Terminal
from resources.adls import Adls
from resources.clouds import CLOUDS
from resources.entra import Login

type SparkDriver = Literal["hadoop", "databricks"]

_ACCOUNT = "fs.azure.account"
# Hadoop's driver has no class of this name and refuses it: what has no provider is a fixed token there
_DATABRICKS_SAS = {"fs.azure.sas.token.provider.type": "org.apache.hadoop.fs.azurebfs.sas.FixedSASTokenProvider"}
# the driver's word, ours, and the variable that Azure's webhook sets, which the driver does not read
_WORKLOAD = {
    "client.id": ("client_id", "AZURE_CLIENT_ID"),
    "msi.tenant": ("tenant_id", "AZURE_TENANT_ID"),
    "token.file": ("token_file", "AZURE_FEDERATED_TOKEN_FILE"),
}


def fsspec_options(adls: Adls) -> dict[str, Any]:
    """For fsspec.filesystem("abfs", **options), which is adlfs: `container/path` names a file."""
    kind, secret = adls.way_in()
    options: dict[str, Any] = {"account_name": adls.account}
    if adls.endpoint or adls.cloud != "public":
        options["account_host"] = adls.account_url().partition("://")[2]
    if isinstance(secret, Login):
        return options | {"credential": _Awaited(secret)}
    return options | {kind: secret}


def spark_conf(adls: Adls, driver: SparkDriver = "hadoop") -> dict[str, str]:
    """For `spark.conf.set(name, value)`, or core-site.xml: Hadoop's ABFS driver, from 3.4.1 on, or that of Databricks.

    Raises SettingMissing, or what the vault says; Terminal for a workload identity that nothing names.
    """
    told = {f"{_ACCOUNT}.auth.type": "OAuth"}
    match adls.auth["auth_mode"]:
        case "service_principal":
            told |= _oauth("ClientCreds", **{"client.id": adls.auth["client_id"], "client.secret": adls.secret()})
            told[f"{_ACCOUNT}.oauth2.client.endpoint"] = _token_endpoint(adls)
        case "managed_identity":
            told |= _oauth("Msi", **({"client.id": adls.auth["client_id"]} if "client_id" in adls.auth else {}))
        case "workload_identity":
            adls.way_in()  # refuses what neither the settings nor Azure's variables name
            given = {word: adls.auth.get(name) or os.environ[other] for word, (name, other) in _WORKLOAD.items()}
            told |= _oauth("WorkloadIdentity", **given)
            told[f"{_ACCOUNT}.oauth2.msi.authority"] = f"https://{CLOUDS[adls.azure_cloud].login}/"
        case _:
            way, secret = adls.way_in()
            if way == "account_key":
                told = {f"{_ACCOUNT}.auth.type": "SharedKey", f"{_ACCOUNT}.key": str(secret)}
            else:
                told = {f"{_ACCOUNT}.auth.type": "SAS", "fs.azure.sas.fixed.token": str(secret)}
                told |= _DATABRICKS_SAS if driver == "databricks" else {}
    host = _host(adls)
    return {f"{name}.{host}": value for name, value in told.items()}


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


def _oauth(provider: str, **told: str) -> dict[str, str]:
    named = f"org.apache.hadoop.fs.azurebfs.oauth2.{provider}TokenProvider"
    return {f"{_ACCOUNT}.oauth.provider.type": named} | {f"{_ACCOUNT}.oauth2.{name}": told[name] for name in told}


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
