"""A PostgreSQL on this machine, of the system's own package: a cluster, a port and a password of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from lakehouse_tests.free_port import free_port

USER, PASSWORD = "dagster", "not:told/to nobody"
"""Of these servers only. A password that must be percent-encoded in a URL, and that is told from all other text."""


def program(name: str) -> str | None:
    """Debian keeps the server's programs beside the path, a folder for each version."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda each: int(each.parts[-3]))
    return str(newest[-1]) if newest else shutil.which(name)


def why_missing() -> str:
    """Why PostgreSQL cannot be started here, or nothing."""
    if not (program("initdb") and program("pg_ctl")):
        return "PostgreSQL is not installed: apt install postgresql, or `make tests-core` as root"
    if os.geteuid() == 0 and not _account():
        return "PostgreSQL is not run by root, and the user postgres that its package makes is missing"
    return ""


@dataclass
class Postgres:
    """One running server. `url` holds the password."""

    folder: Path
    port: int
    url: str = field(repr=False)

    def psql(self, statement: str, *, database: str = "dagster") -> str:
        """What a statement gives, without head and frame: a line for each row, its values parted by |."""
        return _as_postgres(
            program("psql"), "-h", str(self.folder), "-p", str(self.port), "-U", "postgres",
            "-d", database, "-v", "ON_ERROR_STOP=1", "-Atc", statement,
        )  # fmt: skip

    def new_database(self, name: str) -> str:
        """Make an empty database that belongs to nobody else; its URL."""
        self.psql(f'CREATE DATABASE "{name}" OWNER {USER}', database="postgres")
        return self.url.rpartition("/")[0] + f"/{name}"

    def stop(self) -> None:
        """End it at once, whoever is connected, and remove what it kept."""
        _as_postgres(program("pg_ctl"), "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)


def start() -> Postgres:
    """Start a server in a folder of its own. Raises RuntimeError with what it said."""
    folder = Path(tempfile.mkdtemp(prefix="lakehouse-pg-"))  # not pytest's: those only their owner enters
    if account := _account():
        os.chown(folder, account.pw_uid, account.pw_gid)
    port = free_port()
    _as_postgres(
        program("initdb"), "-D", str(folder / "data"), "-U", "postgres", "--auth-local=trust",
        "--auth-host=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C",
    )  # fmt: skip
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    _as_postgres(
        program("pg_ctl"), "-D", str(folder / "data"), "-l", str(folder / "log"), "-w", "-o", settings, "start"
    )
    server = Postgres(folder, port, f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/{USER}")
    server.psql(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'", database="postgres")
    server.new_database(USER)
    return server


def _as_postgres(*command: str | None) -> str:
    """Run as the package's user where we are root: PostgreSQL refuses to be run by root."""
    words = [str(each) for each in command]
    account = _account()
    if os.geteuid() == 0 and account:
        words = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", *words]
    # to a file, not a pipe: the server inherits it and would keep it open
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stdout}")
    return done.stdout.strip()


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None
