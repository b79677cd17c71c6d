from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from lakehouse.engine.declare.errors import LeadsOut, Terminal, Transient
from resources.local_disk import LocalDisk


def test_the_time_of_a_file_is_exact_to_the_microsecond(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"")
    os.utime(tmp_path / "a.csv", ns=(0, 1_293_840_000_123_457_999))
    (found,) = LocalDisk(path=str(tmp_path)).files("*.csv")
    assert found.modified_at == datetime(2011, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)


def test_only_folders_that_the_pattern_means_are_entered(tmp_path, monkeypatch):
    for name in ("erp/orders/dt=1", "erp/returns/dt=1", "web/orders/dt=1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x.csv").write_bytes(b"")
    entered = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: entered.append(Path(folder).name) or scan(folder))
    assert len(LocalDisk(path=str(tmp_path)).files("erp/orders/dt=*/x.csv")) == 1
    assert entered == [tmp_path.name, "erp", "orders", "dt=1"]


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """As a user who may not read everything, which root may."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_what_this_user_may_not_read_is_named_with_the_way_out():
    with tempfile.TemporaryDirectory() as open_to_all:
        root = Path(open_to_all)
        root.chmod(0o755)
        (root / "closed").mkdir(mode=0)
        (root / "b.csv").touch(mode=0)
        disk = LocalDisk(path=str(root))
        with bound_by_modes():
            with pytest.raises(Transient, match=r"/b\.csv cannot be read \(Permission denied\)\. .*run again\.$"):
                disk.read("b.csv")
            with pytest.raises(Transient, match=r"/closed cannot be read .*, so \*/a\.csv cannot be listed\."):
                disk.files("*/a.csv")


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    disk = LocalDisk(path=str(tmp_path))
    disk.write("a.csv", b"old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        disk.write("a.csv", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert disk.read("a.csv") == b"old"


def test_who_has_opened_the_old_file_reads_it_to_its_end(tmp_path):
    disk = LocalDisk(path=str(tmp_path))
    disk.write("a.csv", b"old and whole")
    with (tmp_path / "a.csv").open("rb", buffering=0) as opened:
        disk.write("a.csv", b"new")
        assert opened.read() == b"old and whole"


def test_a_half_written_file_is_not_listed(tmp_path, monkeypatch):
    disk = LocalDisk(path=str(tmp_path))
    seen = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (seen.append((list(tmp_path.iterdir()), disk.files("*"))), sync(handle))
    )
    disk.write("a.csv", b"new")
    (on_disk, listed) = seen[0]
    assert len(on_disk) == 1
    assert listed == []


def test_file_and_folder_are_synced_before_a_write_returns(tmp_path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())), sync(handle))
    )
    LocalDisk(path=str(tmp_path)).write("a/b/c.csv", b"x")
    assert synced[0].endswith(".tmp")
    assert synced[1:] == [str(tmp_path / "a" / "b"), str(tmp_path / "a"), str(tmp_path)]


def test_a_name_as_long_as_a_file_system_allows_can_be_written(tmp_path):
    name = "x" * 251 + ".csv"
    LocalDisk(path=str(tmp_path)).write(name, b"x")
    assert [found.name for found in LocalDisk(path=str(tmp_path)).files("*.csv")] == [name]


def test_a_table_on_disk_has_a_path_and_no_options(tmp_path):
    address = LocalDisk(path=str(tmp_path)).address("gold", "daily_sales")
    assert (address.uri, dict(address.options), address.is_local) == (str(tmp_path / "gold" / "daily_sales"), {}, True)


@pytest.mark.parametrize("folder", ["br[acket]", "pipe|d", "ca^ret", "per%20cent", "back\\slash"])
def test_no_table_lies_where_delta_would_go_wrong_but_a_landing_zone_may(tmp_path, folder):
    disk = LocalDisk(path=str(tmp_path / folder))
    with pytest.raises(Terminal, match=r"A table cannot lie at .*LAKEHOUSE_HOME"):
        disk.address("gold", "daily_sales")
    disk.write("a.csv", b"x")
    assert [found.name for found in disk.files("*.csv")] == ["a.csv"]


@pytest.mark.parametrize(
    "folder", ["with blank", "Zoë", "東京", "plus+and&", "quo'te", 'dou"ble', "ha#sh", "q?m", "{x}", "a@b:c"]
)
def test_a_table_may_lie_in_any_other_folder(tmp_path, folder):
    address = LocalDisk(path=str(tmp_path / folder)).address("gold", "daily_sales")
    pl.DataFrame({"day": ["2011-01-04"]}).write_delta(address.uri, mode="error")
    assert (tmp_path / folder / "gold" / "daily_sales" / "_delta_log" / f"{0:020}.json").is_file()


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    """A folder with a file, beside one of somebody else's."""
    for name in ("landing/in/a.csv", "landing2/in/secret.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "landing"


@pytest.mark.parametrize(
    ("link", "leads_to", "name"),
    [
        ("in/b.csv", "../../landing2/in/secret.csv", "in/b.csv"),
        ("in/b.csv", "{}/landing2/in/secret.csv", "in/b.csv"),
        ("out", "../landing2/in", "out/secret.csv"),
        ("out", "{}/landing2/in", "out/secret.csv"),
    ],
)
def test_a_link_that_leads_out_of_the_storage_is_not_followed(landing: Path, link: str, leads_to: str, name: str):
    (landing / link).symlink_to(leads_to.format(landing.parent))
    disk = LocalDisk(path=str(landing))
    assert [found.name for found in disk.files("*/*.csv")] == ["in/a.csv", name]
    secret = landing.parent / "landing2/in/secret.csv"
    with pytest.raises(
        LeadsOut, match=rf"^{name} cannot be read: a link leads from it to {secret}, out of {landing}\."
    ):
        disk.read(name)


def test_a_link_within_the_storage_and_one_to_the_storage_itself_are_followed(landing: Path):
    (landing / "newest").symlink_to("in", target_is_directory=True)
    (landing / "in/b.csv").symlink_to(landing / "in/a.csv")
    (landing.parent / "home").symlink_to(landing, target_is_directory=True)
    for root in (landing, landing.parent / "home"):
        disk = LocalDisk(path=str(root))
        assert [found.name for found in disk.files("*/b.csv")] == ["in/b.csv", "newest/b.csv"]
        assert disk.read("newest/b.csv") == b"landing/in/a.csv"


def test_a_pipe_a_device_and_a_link_to_nowhere_are_no_files(landing: Path):
    os.mkfifo(landing / "in/pipe.csv")
    for name, leads_to in {"zero": "/dev/zero", "pipe": "pipe.csv", "broken": "nowhere", "loop": "a_loop.csv"}.items():
        (landing / f"in/a_{name}.csv").symlink_to(leads_to)
    (landing / "loop").symlink_to("loop")
    assert [found.name for found in LocalDisk(path=str(landing)).files("*/*.csv")] == ["in/a.csv"]


def test_a_file_that_has_become_a_pipe_is_gone_and_waited_for_by_nobody(landing: Path):
    os.mkfifo(landing / "in/pipe.csv")
    ask = f"from resources.local_disk import LocalDisk; LocalDisk(path={str(landing)!r}).read('in/pipe.csv')"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=20, check=False)
    assert "FileGone: in/pipe.csv is no longer in" in said.stderr


def test_a_folder_that_goes_takes_nothing_along_that_a_link_in_it_leads_to(landing: Path):
    (landing / "in/out").symlink_to(landing.parent / "landing2", target_is_directory=True)
    LocalDisk(path=str(landing)).remove("in")
    assert not (landing / "in").exists()
    assert (landing.parent / "landing2/in/secret.csv").exists()


@pytest.mark.skipif(os.sep == "\\", reason="these are paths there, and no file can be called so")
@pytest.mark.parametrize(
    "name", ["x\\..\\b.csv", "C:\\b.csv", "C:b.csv", "*.csv", "[ab].csv", "{b}.csv", "~", "$HOME", "\x1b[2J"]
)
def test_a_file_is_its_name_and_no_pattern_and_no_path_of_another_system(landing: Path, name: str):
    disk = LocalDisk(path=str(landing))
    disk.write("in/b.csv", b"another")
    disk.write(f"in/{name}", b"itself")
    assert disk.read(f"in/{name}") == b"itself"
    assert disk.read("in/b.csv") == b"another"
    assert {found.name for found in disk.files("in/*")} == {"in/a.csv", "in/b.csv", f"in/{name}"}
    assert sorted(each.name for each in landing.parent.iterdir()) == ["landing", "landing2"]
