"""How a table's files lie, and how they are made fewer: the same rows, written anew by us into files of a good size.

Never by delta-rs' `optimize`, which doubles rows when two overlap. A commit here says that it changes no data, so that
who reads what was appended goes on reading the files that were, as long as they lie there.

Plain compaction keeps the order of rows: only files that follow each other are joined, and the file that holds them all
sorts where the first of them did.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

import polars as pl

from lakehouse.engine.declare.errors import Conflict, Refused
from lakehouse.engine.declare.number import number
from lakehouse.engine.declare.readers import Reader
from lakehouse.engine.declare.slicing import unlayable
from lakehouse.engine.delta.evolution import as_if
from lakehouse.engine.delta.files import ROWS_PER_FILE, as_written, write_files
from lakehouse.engine.delta.handle import Handle
from lakehouse.engine.delta.log import UPKEEP, last_note
from lakehouse.engine.delta.place import root
from lakehouse.engine.delta.prepared import in_turn
from lakehouse.engine.delta.protocol import DELETION_VECTORS, can_read
from lakehouse.engine.delta.rivals import since
from lakehouse.engine.delta.statistics import DataFile
from lakehouse.engine.delta.vectors import disabling
from lakehouse.engine.delta.zorder import Curve, mark

TARGET_BYTES = 128 << 20
SMALL = 0.5
"""A file is small that has less than this share of the size, and of the rows, that a file should have."""
SMALL_RATIO = 0.25
"""Of a partition's files so many must be small before it is worth the work."""
WORN = 0.1
"""Of a file's rows so many may be gone by a deletion vector before it is written anew without them."""
COMMIT_BYTES = 4 << 30
"""After so much was read, what was written so far is committed: an interruption costs no more than that."""
TURN_SECONDS = 60
"""So long one waits for another on this machine that lays the same table's files."""


@dataclass(frozen=True)
class Aim:
    """What files should be like. `in_order`: rows keep their order in the whole table, and not only in a partition."""

    bytes: int = TARGET_BYTES
    rows: int = ROWS_PER_FILE
    small_ratio: float = SMALL_RATIO
    in_order: bool = True


@dataclass(frozen=True)
class Layout:
    """How the files of one version lie. `small` of them are small; in one partition a share of `worst` is."""

    version: int
    files: int
    bytes: int
    small: int
    worst: float

    @property
    def small_ratio(self) -> float:
        return self.small / self.files if self.files else 0.0


@dataclass(frozen=True)
class Plan:
    """`groups` of files that become one each, in order; nothing is written yet."""

    before: Layout
    groups: tuple[tuple[str, ...], ...]
    rows: int
    bytes: int

    @property
    def files(self) -> int:
        return sum(map(len, self.groups))


@dataclass(frozen=True)
class Optimized:
    """What was done. `left` files were written anew for nothing: another writer has replaced them meanwhile."""

    handle: Handle
    before: Layout
    after: Layout
    rewritten: int = 0
    made: int = 0
    left: int = 0


class _Made(NamedTuple):
    """Files that hold the very rows of others."""

    removed: Sequence[str]
    added: Sequence[DataFile]


def layout(handle: Handle, aim: Aim) -> Layout:
    """Measured on what the log says of this version."""
    parts = [_small(part, aim) for part in _partitions(handle)]
    worst = max((sum(small) / len(small) for small in parts), default=0.0)
    return Layout(handle.version, len(handle.files()), handle.bytes, sum(map(sum, parts)), worst)


def plan(handle: Handle, aim: Aim, columns: Sequence[str] = ()) -> Plan:
    """What compaction, or laying by columns, would do to this version: told from the log alone."""
    wanted = (_unlaid(part, columns, aim) if columns else _groups(handle, part, aim) for part in _partitions(handle))
    groups = [group for each in wanted for group in each]
    files = handle.files().filter(pl.col("path").is_in([path for group in groups for path in group]))
    return Plan(layout(handle, aim), tuple(groups), int(files["rows"].sum()), int(files["size"].sum()))


def compact(handle: Handle, aim: Aim) -> Optimized:
    """Join small files that follow each other, until none are left to join; a second time does nothing.

    Costs no more memory than a file. Rows that others append or change meanwhile stand: a group that lost a file to
    them is left. Raises Conflict where that was all of them.
    """
    before = layout(handle, aim)
    with _turn(handle) as newest:
        done = Optimized(newest, before, before)
        while groups := plan(done.handle, aim).groups:
            done = _rewrite(done, groups, _joined, "compacted")
            if done.left:
                break
    return _finished(done, aim)


def folds(handle: Handle, readers: Sequence[Reader]) -> bool:
    """Whether it may have deletion vectors, and one of these knows none."""
    return handle.has_vectors and not can_read(readers, DELETION_VECTORS)


def without_vectors(handle: Handle, readers: Sequence[Reader]) -> Handle:
    """The table as these can read it: where one knows no deletion vectors, they are folded in, and asked for no more.

    As it is where they all do, or it has none. Equal rows in the same order. Raises Conflict.
    """
    if not folds(handle, readers):
        return handle
    stands = handle
    if handle.stands_as is not None:
        stands = (Handle.open(handle.address, handle.version) or handle).leaving_out(handle.unmeasured)
    before = layout(stands, Aim())
    done = Optimized(stands, before, before)
    while marked := [[path] for path in done.handle.files()["path"] if path in done.handle.vectors]:  # by rivals too
        done = _rewrite(done, marked, _joined, "deletion vectors folded in")
        if done.left:
            raise Conflict(f"{handle.address}: other writers have replaced what was folded in. Run again.")
    note = {**last_note(handle.address, done.handle.version), UPKEEP: f"for {', '.join(readers)}: no deletion vectors"}
    asks = partial(disabling, done.handle.version + 1)
    plain = done.handle.commit([], [], {}, note, rearranges=True, asks=asks).leaving_out(handle.unmeasured)
    plain.checkpoint()  # so that none who reads the table meets what lies before
    return plain if handle.stands_as is None else as_if(plain, handle.schema)


def folded(handle: Handle, paths: Iterable[str]) -> Iterator[DataFile]:
    """Files written anew without the rows that their deletion vectors take away; nobody sees them yet."""
    for path in paths:
        with as_written(handle, [path]):
            files = _joined(handle, [path])
        _refuse_other_count(handle, [path], files)
        yield from files


def zorder(handle: Handle, columns: Sequence[str], aim: Aim) -> Optimized:
    """Lay the rows of each partition by these columns along a Z-curve, in as many files as there should be.

    Those that were laid before are left until as many have come as were laid together. The order of rows is lost.
    Memory: a sample of the columns, and a part of each file that is being written.
    """
    refuse_columns(handle, columns)
    said, before = mark(columns), layout(handle, aim)

    def written(standing: Handle, paths: Sequence[str]) -> Sequence[DataFile]:
        rows, files = standing.scan_paths(paths), standing.files().filter(pl.col("path").is_in(paths))
        curve = Curve.of(rows, columns, standing.rows_of(paths), _wanted(files, aim))
        return write_files(standing, rows.with_columns(curve.file(handle.schema).alias(said)), spread=said)

    with _turn(handle) as newest:
        groups = plan(newest, aim, columns).groups
        done = _rewrite(Optimized(newest, before, before), groups, written, f"laid by {', '.join(columns)}")
    return _finished(done, aim)


@contextmanager
def _turn(handle: Handle) -> Generator[Handle]:
    """The version to lay: the newest, where others of this machine laid the table's files, and were waited for.

    That saves work, and no more: it is the commit that tells who was first. So nobody waits longer than TURN_SECONDS,
    nor for other machines, nor where no lock can be had.
    """
    from filelock import FileLock, Timeout

    table = blake2b(root(handle.address).encode(), digest_size=16).hexdigest()
    lock = FileLock(Path(gettempdir()) / f"lakehouse-{os.getuid()}-{table}.lock", poll_interval=0.01)
    with ExitStack() as turn:
        try:
            turn.enter_context(lock.acquire(timeout=0))
        except Timeout:
            with suppress(Timeout):
                turn.enter_context(lock.acquire(timeout=TURN_SECONDS))
            now = since(handle)
            handle = now.handle.leaving_out(handle.unmeasured) if now and now.handle.schema == handle.schema else handle
        except OSError:
            pass
        yield handle


def _unlaid(part: pl.DataFrame, columns: Sequence[str], aim: Aim) -> Iterator[tuple[str, ...]]:
    """The files of a partition that are to be laid together: those that do not lie so, or of which many rows are gone.

    With them what was laid at once before, where it has no more bytes than all of these: so a row is laid anew about
    as often as the table doubles, and what was laid by itself stays few.
    """
    worn, name = _worn(part), rf"-([0-9a-f]{{16}})-{mark(columns).strip()}\.parquet$"
    at_once = pl.when(~pl.col("path").is_in(worn)).then(pl.col("path").str.extract(name)).alias("at once")
    told = part.group_by(at_once).agg("path", pl.col("size").sum()).sort(pl.col("at once").is_not_null(), "size")
    group, size = list[str](), 0
    for laid, paths, its_size in told.rows():
        if laid is None or its_size <= size:
            group, size = [*group, *paths], size + its_size
    files = part.filter(pl.col("path").is_in(group))
    if group and (len(group) > 1 or not worn.isdisjoint(group) or _wanted(files, aim) > 1):
        yield tuple(files["path"])


def _wanted(files: pl.DataFrame, aim: Aim) -> int:
    """How many files should hold what these do."""
    return max(1, math.ceil(max(files["size"].sum() / aim.bytes, files["rows"].sum() / aim.rows)))


def _finished(done: Optimized, aim: Aim) -> Optimized:
    if done.left and not done.rewritten:
        raise Conflict(
            f"{done.handle.address}: other writers have replaced each of the {number(done.left, 'file')} that were "
            f"written anew; nothing of ours was committed, version {done.handle.version} stands. Run again."
        )
    return replace(done, after=layout(done.handle, aim))


def _joined(handle: Handle, paths: Sequence[str]) -> Sequence[DataFile]:
    return write_files(handle, handle.scan_paths(paths), rows_per_file=_UNCUT, named=_Z.sub("", _stem(paths[0])))


_Z = re.compile(r"-z[0-9a-f]{8}$")
_UNCUT = (1 << 32) - 1  # all that Polars counts to


def _rewrite(done: Optimized, groups: Iterable[Sequence[str]], written: Any, what: str) -> Optimized:
    """Each group written anew, a commit for every COMMIT_BYTES that were read; counted with what was done before."""
    handle, made, read = done.handle, list[_Made](), 0
    sizes = dict(handle.files().select("path", "size").rows())
    for group in groups:
        with as_written(handle, group):
            files = written(handle, group)
        _refuse_other_count(handle, group, files)
        made.append(_Made(group, files))
        read += sum(sizes[path] for path in group)
        if read >= COMMIT_BYTES:
            done = _counted(done, handle, made, what)
            made, read = [], 0
    return _counted(done, handle, made, what) if made else done


def _counted(done: Optimized, read: Handle, made: Sequence[_Made], what: str) -> Optimized:
    newest, landed = _land(read, made, what)
    gone, new = (sum(map(len, each)) for each in ([group.removed for group in landed], [g.added for g in landed]))
    lost = sum(len(each.removed) for each in made) - gone
    counts = {"rewritten": done.rewritten + gone, "made": done.made + new, "left": done.left + lost}
    return replace(done, handle=newest, **counts)


def _land(handle: Handle, made: Sequence[_Made], what: str) -> tuple[Handle, Sequence[_Made]]:
    """Commit, and again on top of what others have committed, as long as they have left the files alone that go.

    handle: that of which they were made, also where commits of ours came since: what others did before these counts
    too. What lost a file to them is left out. Gives the newest version, and what was committed.
    """

    def commit(at: Handle, made: Sequence[_Made]) -> tuple[Handle, Sequence[_Made]]:
        if not made:
            return at, made
        added = [file for each in made for file in each.added]
        removed = [path for each in made for path in each.removed]
        note = {
            **last_note(at.address, at.version),
            UPKEEP: f"{what}: {number(len(removed), 'file')} into {len(added):,}",
        }
        return at.commit(added, removed, {}, note, rearranges=True).leaving_out(handle.unmeasured), made

    def again(at: Handle, made: Sequence[_Made], lost: Conflict) -> tuple[Handle, Sequence[_Made]]:
        now = since(at)
        if now is None or now.handle.schema != handle.schema:
            raise lost
        touched = now.went.union(now.came)  # also where a deletion vector only took rows out of a file
        left = [each for each in made if touched.isdisjoint(each.removed)]
        return now.handle.leaving_out(handle.unmeasured), left

    return in_turn((handle, made), lambda each: commit(*each), lambda each, lost: again(*each, lost))


def _refuse_other_count(handle: Handle, paths: Sequence[str], files: Sequence[DataFile]) -> None:
    held, written = handle.rows_of(paths), sum(file.rows for file in files)
    if held != written:
        raise Refused(
            f"{handle.address}: {number(len(paths), 'file')} that hold {held:,} rows by the log were read as "
            f"{written:,}; nothing was committed, version {handle.version} stands. Next: lakehouse table check "
            f"{handle.address.key}"
        )


def _partitions(handle: Handle) -> Iterator[pl.DataFrame]:
    """The files of each partition, with their `place` in the order of the whole table."""
    files = handle.files().with_row_index("place")
    if files.is_empty():
        return
    columns = [f"partition.{name}" for name in handle.partition_by]
    yield from files.partition_by(columns, maintain_order=True) if columns else [files]


def _small(part: pl.DataFrame, aim: Aim) -> list[bool]:
    """Of each file, whether it is. A partition's only file is what it can be."""
    if part.height == 1:
        return [False]
    few = (pl.col("rows") < aim.rows * SMALL).fill_null(value=True)
    return part.select((pl.col("size") < aim.bytes * SMALL) & few).to_series().to_list()


def _groups(handle: Handle, part: pl.DataFrame, aim: Aim) -> Iterator[tuple[str, ...]]:
    """Small files that follow each other, as many as one file should hold; none where too few of them are small.

    A file of which many rows are gone is one of them, and a group by itself where it has no neighbour.
    """
    small, worn = _small(part, aim), _worn(part)
    if sum(small) < aim.small_ratio * len(small):
        small = [False] * len(small)
    small = [each or path in worn for each, path in zip(small, part["path"], strict=True)]
    stems = Counter(map(_stem, handle.files()["path"])) if any(small) else Counter[str]()
    group, size, rows, last = list[str](), 0, 0, -1
    told: list[tuple[str, int, int, int]] = part.select("path", "size", pl.col("rows").fill_null(0), "place").rows()
    for (path, file_size, file_rows, place), is_small in zip(told, small, strict=True):
        follows = not aim.in_order or place == last + 1
        fits = size + file_size <= aim.bytes and rows + file_rows <= aim.rows
        if not (is_small and follows and fits and group):
            if len(group) > 1 or not worn.isdisjoint(group):
                yield tuple(group)
            group, size, rows = list[str](), 0, 0
        if is_small and (group or stems[_stem(path)] == 1):  # else where the new file would sort is not told
            group, size, rows = [*group, path], size + file_size, rows + file_rows
        last = place
    if len(group) > 1 or not worn.isdisjoint(group):
        yield tuple(group)


def _worn(part: pl.DataFrame) -> set[str]:
    if "gone" not in part.columns:
        return set()
    return set(part.filter(pl.col("gone") >= WORN * (pl.col("rows") + pl.col("gone")), pl.col("gone") > 0)["path"])


def _stem(path: str) -> str:
    """By what of its name a file sorts: a file that takes its place begins so too."""
    return path.rpartition("/")[2].partition(".")[0]


def refuse_columns(handle: Handle, columns: Sequence[str]) -> None:
    """Refuse to lay a table by columns that it has not, or that have no ranges."""
    if complaints := unlayable(columns, handle.schema, handle.partition_by, handle.unmeasured):
        raise Refused(f"{handle.address} cannot be laid by {', '.join(columns)}: {'; '.join(complaints)}.")
