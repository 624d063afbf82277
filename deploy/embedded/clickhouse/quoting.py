"""Literals and identifiers of ClickHouse SQL."""

from __future__ import annotations

import re

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def quote_string(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_name(value: str) -> str:
    """A quoted identifier."""
    return "`" + value.replace("\\", "\\\\").replace("`", "\\`") + "`"


def is_setting_name(name: str) -> bool:
    """Whether a text can stand as a setting's or parameter's name in a SET."""
    return _SETTING_NAME.fullmatch(name) is not None
