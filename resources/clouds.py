"""Where the clouds of Azure answer. Their names are a setting; all else follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type CloudName = Literal["public", "government", "china"]


@dataclass(frozen=True)
class AzureCloud:
    """The hosts of one cloud: its login's, and the endings of its storage accounts' and vaults'."""

    login: str
    storage: str
    vault: str


CLOUDS: dict[CloudName, AzureCloud] = {
    "public": AzureCloud("login.microsoftonline.com", "core.windows.net", "vault.azure.net"),
    "government": AzureCloud("login.microsoftonline.us", "core.usgovcloudapi.net", "vault.usgovcloudapi.net"),
    "china": AzureCloud("login.chinacloudapi.cn", "core.chinacloudapi.cn", "vault.azure.cn"),
}
STORAGE_SCOPE = "https://storage.azure.com/.default"
