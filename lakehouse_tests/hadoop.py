"""Hadoop's own driver for Azure's storage, ABFS, which is under Spark: its shell, a Java for each command."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

from lakehouse_tests.azure_cloud import Cloud

PROJECT = Path(__file__).parents[1]
JARS = PROJECT / "build" / "hadoop"
FLAT = {"fs.azure.account.hns.enabled": "false", "fs.azure.fns.account.service.type": "BLOB"}
"""All that it is told beside a connection's words: Azurite's accounts are flat, and answer at their Blob host only."""


def why_missing() -> str:
    """Why the driver cannot be started here, or nothing."""
    if not shutil.which("java"):
        return "Java is not installed: apt install default-jre-headless maven, or `make tests-core` as root"
    if not (JARS / ".made-of").exists():
        return f"{JARS.relative_to(PROJECT)} is missing: `make tests-core` brings it, by Maven"
    return ""


def shell(cloud: Cloud, folder: Path, conf: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """`hadoop fs WORDS` in that cloud; its `conf`, with secrets, stands in a core-site.xml in `folder`."""
    told = "\n".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in {**FLAT, **conf}.items()
    )
    folder.mkdir(parents=True)
    (folder / "core-site.xml").write_text(f"<configuration>\n{told}\n</configuration>\n")
    (folder / "trusted").write_bytes(_truststore(cloud))
    properties = {
        "https.proxyHost": "127.0.0.1",
        "https.proxyPort": cloud.proxy_port,
        "http.proxyHost": "127.0.0.1",
        "http.proxyPort": cloud.plain_port,
        "javax.net.ssl.trustStore": folder / "trusted",
        "javax.net.ssl.trustStorePassword": "trusted",
    }
    # a Java that lives for a second: started lightly
    java = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"]
    java += [f"-D{name}={value}" for name, value in properties.items()]
    return subprocess.run(
        [*java, "-cp", f"{folder}:{JARS}/*", "org.apache.hadoop.fs.FsShell", *words],
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _truststore(cloud: Cloud) -> bytes:
    authority = x509.load_pem_x509_certificate((cloud.folder / "authority.pem").read_bytes())
    return serialize_java_truststore([PKCS12Certificate(authority, b"ca")], BestAvailableEncryption(b"trusted"))
