"""What the demo advises works as it is printed, whatever the folder is called."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cli import demo
from deploy.embedded import control


def test_the_advised_command_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b's"
    monkeypatch.setattr(control, "is_running", lambda _: True)
    with pytest.raises(demo.DemoError) as refused:
        demo._empty(folder)
    (advised,) = re.findall(r"`(.+)`", str(refused.value))
    assert shlex.split(advised) == ["medallion", "down", "--data-dir", str(folder)]
