"""Settings as nobody's shell has changed them, and an authority."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.certificates import Authority


@pytest.fixture(autouse=True)
def no_settings_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEDALLION_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of an authority, PEM."""
    return Authority(tmp_path_factory.mktemp("ca")).certificate
