"""The commands of Markdown documents, and whether what a command printed is what its document shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_RULER = re.compile(r"^[\s─━]*$")


@dataclass(frozen=True)
class Command:
    """A command of a document, by the line it stands in; `shown` is what the document says it prints, if it does.

    `is_named`: running text names it, perhaps without its arguments.
    """

    document: str
    line: int
    text: str
    shown: str | None = None
    is_named: bool = False

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A fenced block, by the line of its fence and the heading that it stands under."""

    line: int
    heading: str
    language: str
    body: str


def fences(path: Path) -> Iterator[Block]:
    """Every fenced block, in the order of the document."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        # A comment in a block is no heading.
        before = _FENCE.sub("", text[: found.start()])
        headings = _HEADING.findall(before)
        line = text.count("\n", 0, found.start()) + 1
        yield Block(line, headings[-1] if headings else "", found["language"], found["body"])


def blocks(path: Path, root: Path, language: str) -> Iterator[tuple[int, str]]:
    """The fenced blocks of one language: the line of the fence, and what is in it."""
    for block in fences(path):
        if block.language == language:
            yield block.line, block.body


def session(path: Path, root: Path) -> Iterator[Command]:
    """The commands of the `console` blocks: what follows `$ `, and the lines below it up to the next one."""
    for start, body in blocks(path, root, "console"):
        current: tuple[int, str] | None = None
        shown: list[str] = []
        for number, line in enumerate([*body.splitlines(), "$ "], start + 1):
            if not line.startswith("$ "):
                shown.append(line)
                continue
            if current is not None:
                yield Command(str(path.relative_to(root)), *current, "\n".join(shown))
            current, shown = (number, line.removeprefix("$ ")), []


def shell(path: Path, root: Path) -> Iterator[Command]:
    """The commands of the `sh` blocks and those of blocks without a language that begin with `medallion` or `make`."""
    for language in ("sh", ""):
        for start, body in blocks(path, root, language):
            for number, line in enumerate(body.splitlines(), start + 1):
                text = re.sub(r"\s+#\s.*$", "", line).strip()
                if text and not text.startswith("#") and (language or text.split()[0] in {"medallion", "make"}):
                    for part in text.split(" && "):
                        yield Command(str(path.relative_to(root)), number, part)


def spans(path: Path, root: Path) -> Iterator[Command]:
    """The commands in the running text, less those that only show what may be given."""
    text = _FENCE.sub(lambda found: "\n" * found[0].count("\n"), path.read_text(encoding="utf-8"))
    for found in re.finditer(r"`(medallion [^`\n]+)`", text):
        if not re.search(r"[\[\]…<>|]| T\b| H\b", found[1]):
            yield Command(str(path.relative_to(root)), text.count("\n", 0, found.start()) + 1, found[1], is_named=True)


def matches(shown: str, printed: str) -> bool:
    """Whether `printed` is `shown`, in which `…` stands for anything, be it nothing or many lines.

    How words are laid out counts for nothing: a table is as wide as the terminal, and folds its title.
    """
    parts = (re.escape(part.strip()) for part in _plain(shown).split("…"))
    return re.fullmatch(r"\s*.*\s*".join(parts), _plain(printed), re.DOTALL) is not None


def _plain(text: str) -> str:
    return " ".join(word for line in text.splitlines() if not _RULER.match(line) for word in line.split())
