"""Pin every image of the deployment by digest. `python -m deploy.digests`: what would change; `--write`: change it.

Docker's own client asks the registries (`docker buildx imagetools inspect`): it knows their addresses and needs no
engine. A digest stays as long as its tag has it. If the tag has another one, somebody has moved the tag: the program
says so, and writes the new digest only with `--moved`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from config.errors import MedallionError

ROOT = Path(__file__).resolve().parent.parent
FILES = (
    *sorted(ROOT.glob("docker-compose*.yml")),
    ROOT / "deploy/cluster/values.yaml",
    ROOT / "deploy/Dockerfile",
    ROOT / "deploy/compose/grafana/Dockerfile",
)
# Images without a digest yet. This program writes it from the registry.
AWAITED = frozenset(
    {
        "clickhouse/clickhouse-keeper",
        "docker.redpanda.com/redpandadata/console",
        "docker.redpanda.com/redpandadata/redpanda",
    }
)
# Images of ours are built, not fetched.
_OURS = ("medallion", "medallion-grafana")
# `image: x` of compose, `FROM x` of a Dockerfile, an entry of the chart's `images:`; a tag is always there.
_IMAGE = re.compile(
    r"^(?P<before>\s+image:\s+|FROM\s+|  \w+:\s+(?=[^\s:]+/))"
    r"(?P<image>(?P<name>[a-z][\w.\-]*(?::\d+)?(?:/[\w.\-]+)*):(?P<tag>[\w.\-]+))"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?=\s|$)",
    re.MULTILINE,
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class DigestError(MedallionError):
    """A registry gave no digest; the message names the image and says what to do next."""


def images(text: str) -> dict[str, str]:
    """Every image of others in a compose file, a Dockerfile or the chart's values: `name:tag` → digest, "" for none."""
    return {found["image"]: found["digest"] or "" for found in _IMAGE.finditer(text) if found["name"] not in _OURS}


def pinned(text: str, digests: dict[str, str]) -> str:
    """`text` with each of these images at its digest, nothing else changed."""

    def pin(found: re.Match[str]) -> str:
        digest = digests.get(found["image"]) or found["digest"]
        return f"{found['before']}{found['image']}" + (f"@{digest}" if digest else "")

    return _IMAGE.sub(pin, text)


def digest_of(image: str, client: Sequence[str]) -> str:
    """The digest of the tag's index (all platforms), as its registry tells it now.

    Raises:
        DigestError: the client is not here, or the registry does not answer or does not know the image.
    """
    command = [*client, "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DigestError(
            f"Cannot ask for {image}: {error}. Install Docker's buildx, or name it with --client."
        ) from error
    digest = done.stdout.strip()
    if done.returncode or not _DIGEST.fullmatch(digest):
        raise DigestError(f"No digest of {image}: {done.stderr.strip()[-300:]} Is its registry reachable from here?")
    return digest


def pin(files: Sequence[Path], ask: Callable[[str], str], *, write: bool, moved: bool) -> list[str]:
    """A line for each image: its digest, and what was or would be changed.

    Every registry is asked before the first file is written.

    Raises:
        DigestError: as `digest_of`.
    """
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    known: dict[str, set[str]] = {}
    for text in texts.values():
        for image, digest in images(text).items():
            known.setdefault(image, set()).add(digest)
    lines, taken = [], {}
    for image, earlier in sorted(known.items()):
        digest = ask(image)
        if earlier == {digest}:
            lines.append(f"{image}: is at {digest}")
        elif earlier - {"", digest} and not moved:
            lines.append(f"{image}: MOVED to {digest}, left as it is (find out why, then --moved)")
        else:
            taken[image] = digest
            lines.append(f"{image}: {'now' if write else 'would be'} at {digest}")
    if write:
        for file, text in texts.items():
            file.write_text(pinned(text, taken), encoding="utf-8")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where a digest could not be read or a tag has moved."""
    parser = argparse.ArgumentParser(prog="python -m deploy.digests", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--write", action="store_true", help="change the files; without it, only show what would change"
    )
    parser.add_argument(
        "--moved", action="store_true", help="also update images whose tag now has another digest than the file"
    )
    parser.add_argument("--client", default="docker buildx", help="the command that asks registries (docker buildx)")
    parser.add_argument(
        "files", nargs="*", type=Path, default=FILES, help="compose files, Dockerfiles, values of the chart"
    )
    chosen = parser.parse_args(arguments)
    client = shlex.split(chosen.client)
    try:
        lines = pin(chosen.files, lambda image: digest_of(image, client), write=chosen.write, moved=chosen.moved)
    except DigestError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(any(": MOVED " in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())
