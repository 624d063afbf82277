"""Commands of the cold tier run on a test's settings, in this process."""

from __future__ import annotations

import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner

from cli.common.context import out
from config.settings import Settings


def as_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands find what `settings` name, and print no line in two."""
    # It took its width from the environment when it was imported: that of a worker of pytest is 80.
    monkeypatch.setattr(out, "width", 200)
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        monkeypatch.setenv(f"MEDALLION_{name.upper()}", text)


def run_command(app: typer.Typer, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, and the error that a command of `app` ended with."""
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.stdout, str(done.exception or "")
