"""Invariants: the demo empties a folder of its own and no other, and what it advises works as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cli import demo
from deploy.embedded.layout import DataDir, StackError


def test_the_advised_command_names_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a b's"
    demo._take(folder)
    with DataDir(folder).lock(), pytest.raises(StackError) as refused:
        demo._take(folder)
    advised = re.findall(r"`([^`]+)`", str(refused.value))
    assert shlex.split(advised[-1]) == ["medallion", "down", "--data-dir", str(folder)]


def test_a_demo_that_was_cut_off_is_emptied_and_started_again(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "demo")
    demo._take(folder.path)
    folder.create()  # what a start does first, before any process of the stack
    demo._take(folder.path)
    folder.create()
    (folder.path / "link").symlink_to(tmp_path)
    demo._take(folder.path)
    assert {found.name for found in folder.path.iterdir()} == {demo.MARK, "supervisor.lock"}
    assert tmp_path.exists()


def test_the_default_folder_is_the_demos_also_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = DataDir(demo.DEFAULT_FOLDER.absolute())
    folder.create()
    demo._take(demo.DEFAULT_FOLDER)
    assert not folder.warehouse.exists()


def test_a_stack_that_is_no_demo_keeps_its_data(tmp_path: Path) -> None:
    folder = DataDir(tmp_path / "stack")
    folder.create()
    with pytest.raises(demo.DemoError, match="choose another folder with --data-dir"):
        demo._take(folder.path)
    assert folder.warehouse.is_dir()
