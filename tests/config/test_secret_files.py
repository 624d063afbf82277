"""Secrets in files: `MEDALLION_X_FILE`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from config.settings import SecretFileError, Settings

VARIABLE = "MEDALLION_CLICKHOUSE_PASSWORD"


@pytest.fixture(params=["process", "mapping"])
def load(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings from this process's environment, and from one that is handed over."""

    def from_process(environment: dict[str, str]) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return from_process if request.param == "process" else Settings.from_environment


def secret(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "value"), [("hush", "hush"), ("hush\n", "hush"), (" hush \r\n", " hush "), ("a\n\n", "a\n")]
)
def test_one_line_break_at_the_end_is_not_part_of_it(load: Any, tmp_path: Path, text: str, value: str) -> None:
    settings = load({f"{VARIABLE}_FILE": secret(tmp_path / "p", text)})
    assert settings.clickhouse_password.get_secret_value() == value


def test_every_secret_can_be_a_file_and_nothing_else(load: Any, tmp_path: Path) -> None:
    files = {name for name in Settings.variables() if f"{name}_FILE" in Settings.variables()}
    assert {name for name in files if "SECRET" not in name} == {
        VARIABLE,
        "MEDALLION_KAFKA_SASL_PASSWORD",
        "MEDALLION_GRAFANA_PASSWORD",
        "MEDALLION_SERVING_TOKEN",
        "MEDALLION_ICEBERG_CATALOG_TOKEN",
        "MEDALLION_ICEBERG_CATALOG_CREDENTIAL",
        "MEDALLION_POLYGON_API_KEY",
        "MEDALLION_ALPACA_API_KEY",
    }
    settings = load({f"{name}_FILE": secret(tmp_path / name, f"of {name}") for name in files})
    for name in files:
        value = getattr(settings, name.removeprefix("MEDALLION_").lower())
        assert value.get_secret_value() == f"of {name}"


def test_a_secret_given_twice_is_refused(load: Any, tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match=f"{VARIABLE} and {VARIABLE}_FILE are both set"):
        load({VARIABLE: "hush", f"{VARIABLE}_FILE": secret(tmp_path / "p", "hush")})


@pytest.mark.parametrize("text", [None, "", "\n"])
def test_a_file_that_holds_nothing_is_refused_by_name(load: Any, tmp_path: Path, text: str | None) -> None:
    """An empty password would be a silent default."""
    path = tmp_path / "p"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SecretFileError, match=f"{VARIABLE}_FILE names {path}"):
        load({f"{VARIABLE}_FILE": str(path)})


def test_the_environment_of_another_process_is_not_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping that is handed over wins, also where both name a file."""
    assert "MEDALLION_KAFKA_SASL_PASSWORD" not in os.environ
    monkeypatch.setenv(f"{VARIABLE}_FILE", secret(tmp_path / "mine", "mine"))
    given = {f"{VARIABLE}_FILE": secret(tmp_path / "theirs", "theirs")}
    assert Settings.from_environment(given).clickhouse_password.get_secret_value() == "theirs"
