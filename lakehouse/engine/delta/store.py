"""The small files of a table's log, each read or made by one request.

For data files Polars is the reader and the writer; of a file of a few lines it makes a plan that takes 20 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, LocalStore

from lakehouse.engine.declare.ports import Address
from lakehouse.engine.delta.place import durable_beside, root
from lakehouse.engine.delta.refused import raise_where_refused

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

AT_ONCE = 16
_REMOVED_AT_ONCE = 200
_TOLD_OTHERWISE = {"account_name", "allow_http"}  # by the address; as an option of the client


def read(address: Address, names: Sequence[str]) -> list[bytes]:
    """Files by their names below the table's folder.

    Raises FileNotFoundError where one is not there, what the address says where we are not let in, else OSError.
    """
    store = _store(address)
    if len(names) == 1:
        return [_read(address, store, names[0])]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(partial(_read, address, store), names))


def end_of(address: Address, name: str, size: int, most: int) -> bytes:
    """The last bytes, at most so many, of a file of `size` bytes. Raises as `read` does."""
    return _read(address, _store(address), name, range(max(0, size - most), size))


def create(address: Address, name: str, content: bytes) -> None:
    """A file that is there whole or not at all. Raises FileExistsError where one is there already, else OSError."""
    address.refuse_a_write()
    store = _store(address)
    if address.is_local:
        return _create_on_disk(Path(root(address), name), content, f"{address}: {name} is there already")
    try:
        obstore.put(store, name, content, mode="create", use_multipart=False)
    except AlreadyExistsError as taken:
        raise FileExistsError(f"{address}: {name} is there already") from taken
    except BaseError as error:
        raise_where_refused(address, error)
        raise OSError(_said(error)) from error
    return None


def _create_on_disk(place: Path, content: bytes, taken: str) -> None:
    """It is durable before it has its name: a power cut leaves no commit of no bytes, and nobody builds on one."""
    place.parent.mkdir(exist_ok=True)
    try:
        with durable_beside(place, content) as part:
            place.hardlink_to(part)
    except FileExistsError as first:
        raise FileExistsError(taken) from first


def rename(address: Address, name: str, to: str) -> None:
    """Where there is a file `to`, it is gone. Raises OSError."""
    address.refuse_a_write()
    try:
        obstore.rename(_store(address), name, to)
    except BaseError as error:
        raise_where_refused(address, error)
        raise OSError(_said(error)) from error


def sizes(address: Address, below: str | None = None) -> dict[str, int]:
    """Every file below the table's folder, or `below` one of its folders, its bytes by its name there; one listing."""
    return {name: size for name, (size, _) in listed(address, below).items()}


def listed(address: Address, below: str | None = None) -> dict[str, tuple[int, datetime]]:
    """The same with the time (UTC) at which each was written."""
    try:
        pages = obstore.list(_store(address), below, chunk_size=10_000)
        return {each["path"]: (each["size"], each["last_modified"]) for page in pages for each in page}
    except BaseError as error:
        raise_where_refused(address, error)
        raise OSError(_said(error)) from error


def remove(address: Address, names: Sequence[str]) -> None:
    """Take these files away, several at a time; one that is gone already is none. Raises OSError."""
    address.refuse_a_write()
    store = _store(address)
    for first in range(0, len(names), _REMOVED_AT_ONCE):
        try:
            obstore.delete(store, list(names[first : first + _REMOVED_AT_ONCE]))
        except FileNotFoundError:
            remove_in_order(address, names[first : first + _REMOVED_AT_ONCE])
        except BaseError as error:
            raise_where_refused(address, error)
            raise OSError(_said(error)) from error


def remove_in_order(address: Address, names: Sequence[str]) -> None:
    """The same, each before the next, for files of which one is not to go without those before it."""
    address.refuse_a_write()
    for name in names:
        try:
            obstore.delete(_store(address), name)
        except FileNotFoundError:
            continue
        except BaseError as error:
            raise_where_refused(address, error)
            raise OSError(_said(error)) from error


def _read(address: Address, store: ObjectStore, name: str, part: range | None = None) -> bytes:
    try:
        if part is not None:
            return obstore.get_range(store, name, start=part.start, end=part.stop).to_bytes()
        return obstore.get(store, name).bytes().to_bytes()
    except FileNotFoundError as gone:
        raise_where_refused(address, gone)
        raise FileNotFoundError(_said(gone)) from gone
    except BaseError as error:
        raise_where_refused(address, error)
        raise OSError(_said(error)) from error


def _said(error: Exception) -> str:
    """Without what the library adds for its own makers."""
    return str(error).partition("\n")[0]


def _store(address: Address) -> ObjectStore:
    return _opened(root(address), tuple(sorted(address.options.items())))


@lru_cache(maxsize=256)
def _opened(folder: str, options: tuple[tuple[str, str], ...]) -> ObjectStore:
    """Kept, since its connection is."""
    if "://" not in folder:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder} is not there")
        return LocalStore(folder)
    account: dict[str, Any] = {name: value for name, value in options if name not in _TOLD_OTHERWISE}
    client: ClientConfig = {"allow_http": dict(options).get("allow_http") == "true"}
    return AzureStore.from_url(folder, client_options=client, **account)
