"""Invariant: whatever a document, a comment or a message refers to is in this repository."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.conftest import DOCUMENTS, ROOT

PACKAGES = (
    "config",
    "schemas",
    "producers",
    "series",
    "ddl",
    "silver_processor",
    "offload",
    "serving",
    "deploy",
    "cli",
    "bench",
    "tests",
)
ADDRESS = re.compile(r"\]\([^)]*\)|https?://\S+|[\w-]+(?:\.[\w-]+)*\.(?:com|dev|io|org)/\S*")
PROGRAM = re.compile(r"^```(?:python|java)\n.*?^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?<![\w/.<>…{}*-])(?:[\w.-]+/)*[\w.-]+\.(?:py|sql|sh|toml|avsc|hcl|tpl|md)(?![\w/<{*])")
FOLDER = re.compile(rf"`((?:{'|'.join(PACKAGES)}|docs)/(?:[\w-]+/)*)`")
MODULE = re.compile(rf"(?<![\w/.-])(?:{'|'.join(PACKAGES)})(?:\.[a-z_]+)+(?![\w(])(?<!\.md)(?<!\.xml)(?<!\.d)")
FAMILIES = "cold|completeness|disk|gate|offload|producer|quality|schedule|serving|silver|trade"
METRIC = re.compile(rf"(?<![\w/.])medallion_(?:{FAMILIES})_[a-z_]+[a-z](?![\w{{.*/-]|_{{)")
SETTING = re.compile(r"MEDALLION_[A-Z0-9_]+[A-Z0-9](?![\w…])")
# A class, an alert, or a type of ClickHouse.
CLASS = re.compile(r"`((?:[A-Z][a-z]+)+[A-Za-z]*)`")
# A page of Binance's.
NOT_OURS = {"web-socket-streams.md"}


@cache
def files() -> dict[str, Path]:
    """Every file of the repository by its path from the root."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [path for path in ROOT.iterdir() if path.is_file()]
    found += [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)): path for path in found if "__pycache__" not in path.parts}


@cache
def sources() -> str:
    """The text of all that is no document."""
    kinds = {".py", ".sql", ".yml", ".yaml", ".sh", ".toml", ".tpl", ".example"}
    return "\n".join(path.read_text(encoding="utf-8") for path in files().values() if path.suffix in kinds)


@cache
def words() -> frozenset[str]:
    return frozenset(re.findall(r"\w+", sources()))


def prose(path: Path) -> str:
    """A document without addresses and programs; the targets of its links are another test's, and programs are run."""
    return ADDRESS.sub(" ", PROGRAM.sub(" ", path.read_text(encoding="utf-8")))


def is_there(name: str, document: Path) -> bool:
    """From the root or from the document; a name that begins below a package may leave out what comes before."""
    if name in files() or (document.parent / name).exists():
        return True
    return name.split("/", maxsplit=1)[0] not in PACKAGES and any(path.endswith(f"/{name}") for path in files())


def is_module(name: str) -> bool:
    """`package.module`, or a name in such a module."""
    path = ROOT
    for part in name.split("."):
        if (path / f"{part}.py").is_file():
            return True
        path /= part
        if not path.is_dir():
            return False
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    text = prose(document)
    missing = [name for name in FILE.findall(text) if name not in NOT_OURS and not is_there(name, document)]
    missing += [name for name in FOLDER.findall(text) if not (ROOT / name).is_dir()]
    missing += [name for name in MODULE.findall(text) if not is_module(name)]
    missing += [name for name in CLASS.findall(text) if name not in words()]
    missing += [name for name in METRIC.findall(text) if words().isdisjoint({name, name.removesuffix("_total")})]
    missing += [
        name for name in SETTING.findall(text) if words().isdisjoint({name, name.removeprefix("MEDALLION_").lower()})
    ]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_has_no_marks_of_a_merge(document: Path) -> None:
    assert re.findall(r"^(?:<{7}|>{7})(?: .*)?$", document.read_text(), re.MULTILINE) == []


def test_documents_that_the_code_refers_to_are_there() -> None:
    named = set(re.findall(r"\bdocs/(?:[\w-]+/)*[\w-]+\.(?:md|svg)", sources()))
    assert "docs/invariants.md" in named
    assert [name for name in named if name not in files()] == []


def test_every_invariant_that_is_referred_to_by_number_is_defined() -> None:
    defined = re.findall(r"^\| (\d+) \| \*\*", (ROOT / "docs" / "invariants.md").read_text(), re.MULTILINE)
    assert defined == [str(number) for number in range(1, len(defined) + 1)]
    everything = sources() + "".join(prose(path) for path in DOCUMENTS)
    referred = re.findall(r"[Ii]nvariants? ((?:\d+(?:, | and | to )?)+)", everything)
    assert {number for numbers in referred for number in re.findall(r"\d+", numbers)} <= set(defined)


def test_nothing_refers_to_an_issue_by_a_letter() -> None:
    assert re.findall(r"\b[Ii]ssue [A-Z]\b.*", sources() + "".join(prose(path) for path in DOCUMENTS)) == []
