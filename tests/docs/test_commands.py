"""Invariant: every command of every document exists: programs, options, services, files, make targets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer._click.exceptions import BadOptionUsage, MissingParameter, NoArgsIsHelpError

from cli.main import app
from tests.docs.blocks import Command, matches, session, shell, spans
from tests.docs.conftest import DOCUMENTS, ROOT, RUNBOOKS

# Not ours, and not a container's: what any host has, and Prefect's, which is in an environment of its own.
OF_THE_HOST = {"cp", "rm", "cmp", "sed", "export", "source", "git", "timedatectl", "prefect"}
COMPOSE_FLAGS = {
    "up": {"-d", "--wait", "--scale", "--force-recreate", "--build"},
    "down": {"--volumes"},
    "ps": {"-a"},
    "logs": {"--tail", "--no-log-prefix", "--follow"},
    "run": {"--rm", "--no-deps", "--entrypoint"},
    "exec": {"-T"},
    "restart": set(),
    "stop": set(),
    "build": set(),
}
WITH_VALUE = {"--scale", "--tail", "--entrypoint", "-f", "--profile"}
LINK = re.compile(r"\]\((?!https?:)(?P<file>[^)#]*)(?:#(?P<anchor>[^)]+))?\)")


class _Loader(yaml.CSafeLoader):
    """Compose's own tags mean nothing here."""


_Loader.add_multi_constructor("!", lambda _loader, _tag, _node: None)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.load((ROOT / "docker-compose.yml").read_text(), Loader=_Loader)
    return document


@pytest.fixture(scope="module")
def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_exist(path: Path, compose: dict[str, Any], targets: set[str], subtests: pytest.Subtests) -> None:
    for command in (*shell(path, ROOT), *session(path, ROOT), *spans(path, ROOT)):
        with subtests.test(command=str(command)):
            check(command, compose, targets)


def check(command: Command, compose: dict[str, Any], targets: set[str]) -> None:
    """One command by the program that runs it."""
    text = re.sub(r" > \S+$", "", command.text)
    words = shlex.split(text.replace("…", "0"))
    while "=" in words[0] and words[0].split("=")[0].isupper():
        del words[0]
    program = words[0]
    if program == "medallion":
        try:
            parse(typer.main.get_command(app), words[1:])
        except (NoArgsIsHelpError, MissingParameter, BadOptionUsage) as error:
            if not command.is_named or (isinstance(error, BadOptionUsage) and "requires" not in str(error)):
                raise
    elif program == "make":
        assert [word for word in words[1:] if "=" not in word and word not in targets] == []
    elif words[:2] == ["docker", "compose"]:
        check_compose(words[2:], compose)
    elif program == "docker":
        check_docker(words[1:], compose)
    elif program == "python" or program.endswith(("/python", "/pip", "/medallion")):
        assert "-m" in words or program.endswith("/medallion")
    else:
        assert program in OF_THE_HOST, f"{program}: is it on every host, and does the command work?"


def parse(command: Any, arguments: list[str]) -> None:
    """Raises click's usage errors where an option or a command does not exist."""
    with command.make_context("medallion", list(arguments), resilient_parsing="--help" in arguments) as context:
        # `medallion --help` names no command.
        if hasattr(command, "resolve_command") and {*context._protected_args, *context.args} - {"--help"}:
            _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None, f"{' '.join(arguments)}: there is no such command"
            parse(found, rest)


@pytest.mark.parametrize("words", ["--help", "dlq --help", "query --help"])
def test_a_document_may_name_any_help(words: str) -> None:
    parse(typer.main.get_command(app), words.split())


@pytest.mark.parametrize("words", ["nosuch --help", "dlq nosuch --help"])
def test_help_of_no_command_is_found(words: str) -> None:
    with pytest.raises(AssertionError, match="no such command"):
        parse(typer.main.get_command(app), words.split())


def check_compose(words: list[str], compose: dict[str, Any]) -> None:
    while words[0].startswith("-"):
        flag, value, *words = words
        if flag == "-f":
            assert (ROOT / value).is_file(), value
        else:
            assert flag == "--profile"
            profiles = {name for service in compose["services"].values() for name in service.get("profiles", [])}
            assert value in {*profiles, "*"}
    verb, *rest = words
    named, entrypoint = [], ""
    while rest:
        word, *rest = rest
        if word.startswith("-"):
            assert word.split("=")[0] in COMPOSE_FLAGS[verb], f"{verb} {word}"
            if word in WITH_VALUE:
                value, *rest = rest
                entrypoint = value if word == "--entrypoint" else entrypoint
                named += [value.split("=")[0]] if word == "--scale" else []
            continue
        named.append(word)
        if verb in {"run", "exec"}:
            break
    assert set(named) <= set(compose["services"]), named
    if verb == "run":
        service = compose["services"][named[0]]
        assert entrypoint in {"", "medallion"}
        assert entrypoint or "entrypoint" not in service, f"{named[0]} has an entry point of its own"
        # A download is put aside there: elsewhere /tmp is memory, and a day of a large market does not fit.
        assert rest[0] != "backfill" or "TMPDIR" in service["environment"], f"{named[0]} has no room for a download"
        parse(typer.main.get_command(app), rest)
    if verb == "exec":
        assert rest[0] in {"rpk", "clickhouse-client"}, rest[0]


def check_docker(words: list[str], compose: dict[str, Any]) -> None:
    if words[:2] == ["system", "df"]:
        return
    assert words[:2] == ["run", "--rm"]
    project = compose["name"]
    volumes = [words[index + 1].split(":")[0] for index, word in enumerate(words) if word == "-v"]
    assert volumes
    for volume in volumes:
        assert volume.startswith("./") or volume.removeprefix(f"{project}_") in compose["volumes"], volume


def test_the_backup_takes_every_volume_that_holds_data(compose: dict[str, Any]) -> None:
    """Of the core; metrics, alerts' silences, dashboards' settings and temporary files are no market data."""
    text = (ROOT / "docs" / "runbooks" / "operate.md").read_text()
    saved = set(re.findall(rf"-v {compose['name']}_([a-z-]+):/from", text))
    assert saved == set(compose["volumes"]) - {"prometheus-data", "alertmanager-data", "grafana-data", "scratch"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for found in LINK.finditer(path.read_text(encoding="utf-8")):
        target = (path.parent / found["file"]).resolve() if found["file"] else path
        assert target.exists(), found[0]
        if found["anchor"]:
            assert found["anchor"] in anchors(target), found[0]


def anchors(path: Path) -> set[str]:
    """Of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-") for title in titles}


def test_there_is_a_runbook_for_everything_an_operator_does() -> None:
    headings = {anchor for path in RUNBOOKS for anchor in anchors(path)}
    assert headings >= {
        "start", "stop", "upgrade", "back-up", "restore", "add-a-symbol", "add-an-exchange", "exchange-down",
        "dead-letters-rising", "consumer-lag", "too-many-parts", "offload-behind", "gate-blocked", "disk-full",
        "re-derive-a-day", "rotate-a-password",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("", "", True),
        ("", "x", False),
        ("…", "", True),
        ("…", "a\nb", True),
        ("a\n…\nd", "a\n  b\n c\nd\n", True),
        ("a\n…\nd", "a\nd", True),
        ("a\n…\nd", "a\nx", False),
        ("kraken BTCUSDT 52", "  kraken\tBTCUSDT   52 \n ─────\n", True),
        ("kraken BTCUSDT 52", "kraken BTCUSDT 53", False),
        ("52 in … s (…/s).", "52 in 0.6 s (94/s).", True),
        ("52 in … s (…/s).", "51 in 0.6 s (94/s).", False),
    ],
)
def test_outputs_are_compared_loosely_and_not_too_loosely(shown: str, printed: str, same: bool) -> None:
    assert matches(shown, printed) is same
