"""Secrets in files: `MEDALLION_X_FILE` names a file with the value of the secret `MEDALLION_X`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from config.errors import MedallionError

SUFFIX = "_file"


class SecretFileError(MedallionError):
    """The file of a secret cannot be used."""


def secret_names(fields: Mapping[str, FieldInfo]) -> tuple[str, ...]:
    """The settings that are secrets."""
    return tuple(name for name, field in fields.items() if field.annotation is SecretStr)


def read_secrets(names: tuple[str, ...], environment: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Read the secrets of `names` that `environment` keeps in files. A line break at a file's end does not count.

    Raises:
        SecretFileError: a secret is set both ways, or its file cannot be read or is empty.
    """
    found = {}
    for name in names:
        variable = f"{prefix}{name}".upper()
        path = environment.get(f"{variable}{SUFFIX.upper()}", "")
        if not path:
            continue
        if environment.get(variable):
            raise SecretFileError(f"{variable} and {variable}_FILE are both set: unset one of them.")
        found[name] = _read(Path(path), variable)
    return found


def _read(path: Path, variable: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretFileError(f"{variable}_FILE names {path}, which cannot be read: {error}") from error
    if not text:
        raise SecretFileError(f"{variable}_FILE names {path}, which is empty: put the secret into it.")
    return text
