"""What `connections:` of an environment file may say: each a place for files and tables, and the way into it.

No secret stands in one, only the name of a variable, or of a secret in a vault; a literal key is for `local` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z-]*$", max_length=64)]
VaultName = Annotated[str, Field(pattern=r"^[A-Za-z][0-9A-Za-z-]{1,22}[0-9A-Za-z]$")]
SecretName = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,127}$")]


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class LocalDiskConnection(Strict):
    """A folder; `path` is below LAKEHOUSE_HOME unless it is absolute. It is taken as it stands: no ~, no $VARIABLE."""

    type: Literal["local_disk"]
    path: str = Field(pattern=r"^[^~$][^$]*$")


class AdlsConnection(Strict):
    """A container of a storage account on Azure (ADLS Gen2).

    `endpoint` is for an account elsewhere than at its cloud's own hosts. `{port}` in it is filled from `port_variable`,
    in the run.
    """

    type: Literal["azure_adls"]
    account: str = Field(pattern=r"^[a-z0-9]{3,24}$")
    container: str = Field(pattern=r"^[a-z0-9](-?[a-z0-9])+$", max_length=63)
    endpoint: str | None = Field(None, pattern=r"^https?://[^?@#\s]+$")
    port_variable: VariableName | None = None
    one_of: ClassVar[tuple[str, ...]] = ()
    """Keys of which just one is named: the places where the secret may be."""

    @model_validator(mode="after")
    def _port_has_its_place(self) -> Self:
        if (self.port_variable is not None) != ("{port}" in (self.endpoint or "")):
            raise ValueError("`{port}` in endpoint and port_variable go together")
        return self

    @property
    def auth(self) -> Mapping[str, str]:
        """The way in, without what it opens and without a literal secret."""
        place = [*AdlsConnection.model_fields, *self.literals()]
        return {name: str(value) for name, value in self.model_dump(exclude_none=True).items() if name not in place}

    def literals(self) -> Mapping[str, SecretStr]:
        """The secrets that stand in the file itself, by key."""
        return {name: value for name, value in self if isinstance(value, SecretStr)}


class KeyVaultAdls(AdlsConnection):
    """The account's key, or a SAS token, is a secret in a key vault."""

    auth_mode: Literal["key_vault"]
    secret_name: SecretName
    key_vault_name: VaultName | None = None
    secret_holds: Literal["account_key", "sas_token"] = "account_key"  # noqa: S105 # what kind of secret it is


class DirectKeyAdls(AdlsConnection):
    """The account's key is in a variable; in `local` it may stand here."""

    auth_mode: Literal["direct_key"]
    account_key_variable: VariableName | None = None
    account_key: SecretStr | None = None
    one_of = ("account_key_variable", "account_key")


class SasAdls(AdlsConnection):
    """A SAS token is in a variable; in `local` it may stand here."""

    auth_mode: Literal["sas"]
    sas_token_variable: VariableName | None = None
    sas_token: SecretStr | None = None
    one_of = ("sas_token_variable", "sas_token")


class ServicePrincipalAdls(AdlsConnection):
    """An application of Entra, with a secret of its own: in a variable, or in a key vault."""

    auth_mode: Literal["service_principal"]
    tenant_id: Id
    client_id: Id
    client_secret_variable: VariableName | None = None
    secret_name: SecretName | None = None
    key_vault_name: VaultName | None = None
    one_of = ("client_secret_variable", "secret_name")


class ManagedIdentityAdls(AdlsConnection):
    """The identity that Azure gives to where this runs; `client_id` names one of several."""

    auth_mode: Literal["managed_identity"]
    client_id: Id | None = None


class WorkloadIdentityAdls(AdlsConnection):
    """A token that Kubernetes keeps in a file, exchanged for Entra's.

    What is not named is read from AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE, where Azure's
    webhook puts it.
    """

    auth_mode: Literal["workload_identity"]
    tenant_id: Id | None = None
    client_id: Id | None = None
    token_file: str | None = Field(None, min_length=1)


type Adls = Annotated[
    KeyVaultAdls | DirectKeyAdls | SasAdls | ServicePrincipalAdls | ManagedIdentityAdls | WorkloadIdentityAdls,
    Field(discriminator="auth_mode"),
]
type Connection = Annotated[LocalDiskConnection | Adls, Field(discriminator="type")]
