"""Invariant: ccxt loaded class by class is the ccxt that everybody has, and only what is asked for takes memory."""

from __future__ import annotations

import json
import subprocess
import sys

_CLASSES = """
import json, sys
{first}
import ccxt.async_support, ccxt.pro
loaded = sum(name.startswith("ccxt.") for name in sys.modules)
found = {{
    package.__name__: {{
        name: [[one.__module__, one.__qualname__] for one in getattr(package, name).__mro__]
        for name in package.exchanges
    }}
    for package in (ccxt, ccxt.async_support, ccxt.pro)
}}
names = [name for name in vars(ccxt) if not name.startswith("_")]
print(json.dumps([found, getattr(ccxt.async_support, "mtgox", None), loaded, names]))
"""


def classes(first: str) -> tuple[dict[str, dict[str, object]], object, int, set[str]]:
    script = _CLASSES.format(first=first)
    found, unknown, loaded, names = json.loads(subprocess.check_output([sys.executable, "-c", script]))
    return found, unknown, loaded, set(names)


def test_every_exchange_of_ccxt_is_the_same_class_and_none_is_loaded_before_it_is_asked_for() -> None:
    whole, unknown, many, names = classes("")
    found, unknown_here, few, names_here = classes("import producers.ccxt")
    assert found == whole
    assert len(found["ccxt.pro"]) > 50
    assert unknown is unknown_here is None
    assert names <= names_here
    assert few < 40
    assert many > 300
