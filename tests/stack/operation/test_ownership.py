"""The data folder is its owner's alone; a stack that falls silent is brought back."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from config.settings import Settings
from deploy.embedded import ownership
from deploy.embedded.layout import DataDir
from deploy.embedded.ownership import OwnershipError
from deploy.embedded.services import Ports, clickhouse_service, stack_environment


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_folder_and_the_passwords_are_the_owners(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "a" / "stack")
    directory.create()
    assert {mode(path) for path in (directory.path, directory.clickhouse, directory.warehouse, directory.logs)} == {
        0o700
    }
    files = (directory.password_file, directory.analyst_password_file)
    assert {mode(file) for file in files} == {0o600}
    first = [file.read_text() for file in files]
    assert len({*first, ""}) == 3
    assert min(map(len, first)) > 40
    files[0].chmod(0o644)
    directory.create()
    assert [file.read_text() for file in files] == first, "a password stays"
    assert mode(files[0]) == 0o600


def test_a_stack_of_an_earlier_version_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    for path in (folder, folder / "clickhouse", folder / "warehouse"):
        path.mkdir(mode=0o755)
    (folder / "supervisor.lock").touch()
    DataDir(folder).create()
    assert mode(folder) == mode(folder / "warehouse") == 0o700


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()
    with pytest.raises(OwnershipError, match="choose an empty folder"):
        DataDir(tmp_path).create()
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("name", ["", "clickhouse", "warehouse", "logs", "kafka", "clickhouse.password"])
def test_a_link_in_the_way_is_refused(tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    folder = tmp_path / "stack"
    if name:
        folder.mkdir(mode=0o700)
    (folder / name if name else folder).symlink_to(target if "." not in name else target / "file")
    with pytest.raises(OwnershipError):
        DataDir(folder).create()
    assert list(target.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(OwnershipError, match="belongs to user 12345"):
        ownership.take(theirs, is_ours=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.lchown(tmp_path / "link", 12345, 12345)
    with pytest.raises(OwnershipError, match="symbolic link of another user"):
        ownership.take(tmp_path / "link" / "stack", is_ours=False)


def test_the_default_warehouse_is_not_where_anybody_can_make_it_first() -> None:
    assert not Settings().iceberg_warehouse.startswith("file:///tmp/medallion")
    assert Settings().iceberg_warehouse == f"file://{Path.cwd()}/.medallion/warehouse"


def test_cold_tables_of_version_0_1_beside_a_folder_with_a_space_are_still_read(tmp_path: Path) -> None:
    """It wrote them to the percent-encoded path, which is in their metadata for good."""
    directory = DataDir(tmp_path / "a b")
    earlier = tmp_path / "a%20b" / "warehouse"
    directory.create()
    assert readable(directory) == {directory.warehouse}
    earlier.mkdir(parents=True, mode=0o755)
    (earlier / "cold").mkdir()
    directory.create()
    assert mode(earlier) == 0o700
    assert readable(directory) == {directory.warehouse, earlier}


def readable(directory: DataDir) -> set[Path]:
    """The folders that SQL of the stack's node may read."""
    ports = Ports(clickhouse_native=1, clickhouse_http=2, metrics=(3,))
    service = clickhouse_service(directory, ports, stack_environment(directory, ports, "memory", "127.0.0.1:9", {}))
    return {Path(word.removeprefix("--readable=")) for word in service.argv if word.startswith("--readable=")}
