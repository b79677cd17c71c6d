"""A folder on this machine, as a storage."""

import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from pydantic import Field

from lakehouse.engine.declare.errors import FileGone, LeadsOut, Terminal, Transient
from lakehouse.engine.declare.ports import Address, Found, Switch
from lakehouse.engine.delta.place import durable_beside
from resources.pattern import checked, fits, is_hidden, segments

# deltalake 1.6.6: `[`, `]`, `|`, `^` panic in the writer (a BaseException), `%20` and `\\` lead to another folder
UNFIT_FOR_TABLES = set("[]|^%") | ({"\\"} if os.sep == "/" else set())

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalDisk(dg.ConfigurableResource):
    """The folder `path` (absolute). It need not be there to be listed; the first write makes it."""

    path: str
    switches: dict[str, str] = Field(default={}, description="Of tables that read from here, where they are not on.")

    def switch(self, table: str) -> Switch:
        return self.switches.get(table, "on")  # pyright: ignore[reportReturnType] # one of those, as the file was read

    def begin(self) -> None:
        """Nothing needs to be asked for."""

    def uri(self, *path: str) -> str:
        """Where the table at `path` lies, without opening or asking for anything."""
        place = str(Path(self.path, *map(checked, path)))
        if unfit := sorted(UNFIT_FOR_TABLES & set(place)):
            raise Terminal(
                f"A table cannot lie at {place}: delta-rs goes wrong on {' '.join(unfit)} in a path. "
                "Choose another folder (LAKEHOUSE_HOME moves all that is local)."
            )
        return place

    def address(self, *path: str) -> Address:
        return Address(self.uri(*path))

    def files(self, pattern: str) -> list[Found]:
        """One walk that enters only folders that the pattern means. A folder that is not there holds nothing."""
        with _sentence(f", so {pattern} cannot be listed"):
            return sorted(_walk(Path(self.path), "", segments(pattern)), key=lambda found: found.name)

    def pages(self, pattern: str, after: str = "") -> Generator[tuple[list[Found], str]]:  # noqa: ARG002 # there is one
        """One, since a disk tells 100,000 files in two seconds."""
        yield self.files(pattern), ""

    def read(self, name: str) -> bytes:
        """The root may be a link; one below it may lead to no other place. What is no file (a pipe, say) is gone."""
        real = Path(os.path.realpath(Path(self.path, checked(name))))
        if not real.is_relative_to(os.path.realpath(self.path)):
            raise LeadsOut(
                f"{name} cannot be read: a link leads from it to {real}, out of {self.path}. Nothing of it was taken; "
                "put the file itself there, or mount the folder that holds it."
            )
        with suppress(FileNotFoundError, NotADirectoryError), _sentence():
            if stat.S_ISREG(real.stat().st_mode):
                return real.read_bytes()
        raise FileGone(f"{name} is no longer in {self.path}.")

    def write(self, name: str, content: bytes) -> None:
        """Written beside its place under a name that is never listed, made durable, then renamed into place."""
        place = Path(self.path, checked(name))
        made = [folder for folder in [place.parent, *place.parent.parents] if not folder.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        with durable_beside(place, content) as part:
            part.replace(place)
        for folder in [place.parent, *(new.parent for new in made)]:
            _make_durable(folder)

    def folders(self, *path: str) -> list[str]:
        place = Path(self.path, *map(checked, path))
        return sorted(each.name for each in place.iterdir() if each.is_dir()) if place.is_dir() else []

    def remove(self, *path: str) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(Path(self.path, checked("/".join(path))))


@contextmanager
def _sentence(consequence: str = "") -> Iterator[None]:
    """What the system refuses, and the way out. What is not there is the caller's to say."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        way_out = "Run again."
        if isinstance(error, PermissionError):
            way_out = "Let the user of this process read it, or move it away; then run again."
        raise Transient(
            f"{error.filename} cannot be read ({error.strerror or error}){consequence}. Nothing was taken. {way_out}"
        ) from error


def _walk(folder: Path, below: str, wanted: list[str]) -> Iterator[Found]:
    segment, deeper = wanted[0], wanted[1:]
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if not fits(segment, entry.name) or (entry.is_symlink() and not Path(entry.path).exists()):
            continue
        if deeper:
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{below}{entry.name}/", deeper)
        elif not is_hidden(entry.name):
            with suppress(FileNotFoundError):  # taken away since the folder was read: not in the listing
                if entry.is_file():
                    yield _found(entry, below)


def _found(entry: os.DirEntry[str], below: str) -> Found:
    facts = entry.stat()
    # from whole nanoseconds: a float of this size is off by up to a microsecond
    modified_at = EPOCH + timedelta(microseconds=facts.st_mtime_ns // 1_000)
    return Found(f"{below}{entry.name}", facts.st_size, modified_at)


def _make_durable(folder: Path) -> None:
    """A rename outlives a power cut only when its folder is synced too (Windows cannot, and need not)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
