"""Invariant: a user without a home, as a container's who is only a number, is told what to set."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from config.places import NoHomeError, state_folder


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(NoHomeError, match=f"^User {os.geteuid()} has no home: set HOME, or XDG_STATE_HOME,"):
        state_folder()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "medallion"
