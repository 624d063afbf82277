"""The deployment's files, read once, with Compose's own YAML tags and `${VAR…}` resolved as Compose resolves them."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILES = (
    "docker-compose.yml",
    "docker-compose.seaweedfs.yml",
    "docker-compose.host-access.yml",
    "docker-compose.ccxt.yml",
    "docker-compose.kafka.yml",
)
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_]+)(?:(?P<operator>:?[-?])(?P<rest>[^}]*))?\})")


class _Loader(yaml.CSafeLoader):
    """Safe YAML plus `!override` and `!reset`, which Compose defines."""


def _plain(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_object(node)


for tag in ("!override", "!reset"):
    _Loader.add_constructor(tag, _plain)


def load_compose(name: str) -> dict[str, Any]:
    """One compose file as data, anchors and merges resolved, variables not."""
    document: dict[str, Any] = yaml.load((ROOT / name).read_text(), Loader=_Loader)
    return document


def resolve(value: Any, environment: dict[str, str]) -> Any:
    """`value` with every `${VAR:-default}` and `${VAR:?message}` filled in; KeyError for a required one."""
    if isinstance(value, dict):
        return {key: resolve(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def fill(found: re.Match[str]) -> str:
        name, operator = found["name"], found["operator"] or ""
        if name is None:
            return "$"
        if environment.get(name):
            return environment[name]
        if "-" in operator:
            return found["rest"]
        raise KeyError(name)

    return VARIABLE.sub(fill, value)


def variables(value: Any) -> dict[str, set[str]]:
    """Every `${VAR…}` in `value`: name to the operators it is used with (`''`, `:-`, `:?` …)."""
    found: dict[str, set[str]] = {}
    for match in VARIABLE.finditer(yaml.safe_dump(value, width=10**9)):
        if match["name"]:
            found.setdefault(match["name"], set()).add(match["operator"] or "")
    return found


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session", params=COMPOSE_FILES)
def compose_file(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each compose file in turn."""
    return load_compose(request.param)


@pytest.fixture(scope="session")
def unresolved() -> dict[str, Any]:
    """The base file, variables as they are written."""
    return load_compose("docker-compose.yml")


@pytest.fixture(scope="session")
def services(unresolved: dict[str, Any]) -> dict[str, Any]:
    """The base file's services as Compose would run them: defaults filled in, a secret for everything required."""
    secrets = {name: "s3cret-for-the-test" for name, how in variables(unresolved).items() if ":?" in how}
    resolved: dict[str, Any] = resolve(copy.deepcopy(unresolved["services"]), secrets)
    return resolved


@pytest.fixture(scope="session")
def ours(services: dict[str, Any]) -> dict[str, Any]:
    """The services that run this project's image."""
    return {name: service for name, service in services.items() if service.get("image", "").startswith("medallion:")}
