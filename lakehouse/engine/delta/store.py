"""The small files of a table's log, each read or made by one request.

For data files Polars is the reader and the writer; of a file of a few lines it makes a plan that takes 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, LocalStore

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.place import ASKED_AGAIN_SECONDS, durable_beside, root
from lakehouse.engine.delta.refused import raise_where_refused

if TYPE_CHECKING:
    from obstore.store import AzureBearerToken, ClientConfig, ObjectStore

_AT_ONCE = 16
_REMOVED_AT_ONCE = 200
_TOLD_OTHERWISE = {"account_name", "allow_http"}  # by the address; as an option of the client


def read(address: Address, names: Sequence[str]) -> list[bytes]:
    """Files by their names below the table's folder.

    Raises FileNotFoundError where one is not there, what the address says where we are not let in, else OSError.
    """
    return each_of(address, names, partial(_read, address, store_of(address)))


def each_of[T](address: Address, names: Sequence[str], ask: Callable[[str], T]) -> list[T]:
    """What is asked of each of some files, in their order: several at a time of a store that is far away."""
    if address.is_local or len(names) == 1:
        return [ask(name) for name in names]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(ask, names))


@contextmanager
def at_hand(address: Address, name: str) -> Generator[Address]:
    """Where a file can be read more than once: where it lies on a local disk, else a copy, which goes again.

    Raises as `read` does.
    """
    if address.is_local:
        yield address
        return
    with TemporaryDirectory(prefix="lakehouse-") as folder:
        copy = Path(folder, name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with copy.open("wb") as file, _told(address):
            for part in obstore.get(store_of(address), name).stream():
                file.write(part)
        yield Address(folder)


def end_of(address: Address, name: str, size: int, most: int) -> bytes:
    """The last bytes, at most so many, of a file of `size` bytes. Raises as `read` does."""
    return _read(address, store_of(address), name, range(max(0, size - most), size))


def create(address: Address, name: str, content: bytes, *, is_ours: bool = False) -> None:
    """A file that is there whole or not at all. Raises FileExistsError where one is there already, else OSError.

    is_ours: nobody else has such a name; what is there already came of the same call, whose answer was lost.
    """
    address.refuse_a_write()
    store = store_of(address)
    if address.is_local:
        return _create_on_disk(Path(root(address), name), content, f"{address}: {name} is there already")
    with _told(address):
        try:
            obstore.put(store, name, content, mode="overwrite" if is_ours else "create", use_multipart=False)
        except AlreadyExistsError as taken:
            raise FileExistsError(f"{address}: {name} is there already") from taken
    return None


def _create_on_disk(place: Path, content: bytes, taken: str) -> None:
    """It is durable before it has its name: a power cut leaves no commit of no bytes, and nobody builds on one."""
    place.parent.mkdir(exist_ok=True)
    if place.exists():  # asked before anything is synced for nothing; what counts is the link
        raise FileExistsError(taken)
    try:
        with durable_beside(place, content) as part:
            place.hardlink_to(part)
    except FileExistsError as first:
        raise FileExistsError(taken) from first


def rename(address: Address, name: str, to: str) -> None:
    """Where there is a file `to`, it is gone. Raises OSError."""
    address.refuse_a_write()
    with _told(address):
        obstore.rename(store_of(address), name, to)


def sizes(address: Address, below: str | None = None) -> dict[str, int]:
    """Every file below the table's folder, or `below` one of its folders, its bytes by its name there; one listing."""
    return {name: size for name, (size, _) in listed(address, below).items()}


def listed(address: Address, below: str | None = None) -> dict[str, tuple[int, datetime]]:
    """The same with the time (UTC) at which each was written."""
    with _told(address):
        pages = obstore.list(store_of(address), below, chunk_size=10_000)
        return {each["path"]: (each["size"], each["last_modified"]) for page in pages for each in page}


def remove(address: Address, names: Sequence[str]) -> None:
    """Take these files away, several at a time; one that is gone already is none. Raises OSError."""
    address.refuse_a_write()
    for first in range(0, len(names), _REMOVED_AT_ONCE):
        some = list(names[first : first + _REMOVED_AT_ONCE])
        try:
            with _told(address):
                obstore.delete(store_of(address), some)
        except FileNotFoundError:
            remove_in_order(address, some)


def remove_in_order(address: Address, names: Sequence[str]) -> None:
    """The same, each before the next, for files of which one is not to go without those before it."""
    address.refuse_a_write()
    for name in names:
        with suppress(FileNotFoundError), _told(address):
            obstore.delete(store_of(address), name)


def _read(address: Address, store: ObjectStore, name: str, part: range | None = None) -> bytes:
    with _told(address):
        if part is not None:
            return obstore.get_range(store, name, start=part.start, end=part.stop).to_bytes()
        return obstore.get(store, name).bytes().to_bytes()


@contextmanager
def _told(address: Address) -> Generator[None]:
    try:
        yield
    except FileNotFoundError as gone:
        raise_where_refused(address, gone)
        raise FileNotFoundError(in_words(gone)) from gone
    except BaseError as error:
        raise_where_refused(address, error)
        raise OSError(in_words(error)) from error


def in_words(error: Exception) -> str:
    """Without what the library adds for its own makers."""
    return str(error).partition("\n")[0]


def store_of(address: Address) -> ObjectStore:
    """By its obstore name: below the table's folder. A token is asked for again however long it is in use."""
    return _opened(root(address), tuple(sorted(address.fixed.items())), address.token)


@lru_cache(maxsize=256)
def _opened(folder: str, options: tuple[tuple[str, str], ...], token: Callable[[], str] | None) -> ObjectStore:
    """Kept, since its connection is."""
    if "://" not in folder:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder} is not there")
        return LocalStore(folder)
    account: dict[str, Any] = {name: value for name, value in options if name not in _TOLD_OTHERWISE}
    client: ClientConfig = {"allow_http": dict(options).get("allow_http") == "true"}
    return AzureStore.from_url(
        folder, client_options=client, credential_provider=_provider(token) if token else None, **account
    )


def _provider(token: Callable[[], str]) -> Callable[[], AzureBearerToken]:
    return lambda: {"token": token(), "expires_at": datetime.now(UTC) + timedelta(seconds=ASKED_AGAIN_SECONDS)}
