"""`python -m deploy.digests` over copies of the deployment's files, with a client that stands in for Docker's."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import yaml

from deploy import digests
from tests.deploy.conftest import COMPOSE_FILES, load_compose

OLD = f"sha256:{'0' * 64}"


def digest(image: str) -> str:
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


@pytest.fixture
def client(tmp_path: Path) -> str:
    """Tells the SHA-256 of an image's name as its digest, and knows no image with `unknown` in its name."""
    program = tmp_path / "client"
    program.write_text(
        'for image; do :; done\ncase "$image" in *unknown*) echo "not found" >&2; exit 1;; esac\n'
        'echo "sha256:$(printf %s "$image" | sha256sum | cut -d" " -f1)"\n'
    )
    return f"sh {program}"


def test_every_image_of_the_deployment_is_found(root: Path) -> None:
    found = set[str]().union(*(digests.images(file.read_text()) for file in digests.FILES))
    services = [service for file in COMPOSE_FILES for service in load_compose(file)["services"].values()]
    wanted = {service["image"] for service in services if "image" in service}
    wanted |= set(yaml.safe_load((root / "deploy/cluster/values.yaml").read_text())["images"].values())
    for file in ("deploy/Dockerfile", "deploy/compose/grafana/Dockerfile"):
        lines = [line.split() for line in (root / file).read_text().splitlines()]
        wanted |= {line[1] for line in lines if line[:1] == ["FROM"] and ":" in line[1]}
    assert found == {image.partition("@")[0] for image in wanted if not image.startswith("medallion")}


def test_an_image_without_a_digest_is_one_that_the_script_is_to_fill_in() -> None:
    """One image has one tag and one digest, whatever file names it. An awaited one may have been filled in."""
    tags: dict[str, set[str]] = {}
    for file in digests.FILES:
        for image, found in digests.images(file.read_text()).items():
            tags.setdefault(image.rpartition(":")[0], set()).add(f"{image}@{found}")
    assert {name: len(names) for name, names in tags.items() if len(names) > 1} == {}
    without = {name for name, names in tags.items() if not all("@sha256:" in one for one in names)}
    assert without <= digests.AWAITED
    assert set(tags) >= digests.AWAITED, "an image that is gone is still awaited"


def test_the_bake_file_fetches_nothing_of_its_own(root: Path) -> None:
    """Its targets are built from Dockerfiles that the script reads, and every base image is in these."""
    bake = (root / "deploy/docker-bake.hcl").read_text()
    assert "docker-image://" not in bake
    dockerfiles = {
        (root / context / (re.search(r'dockerfile += "([^"]+)"', body) or ["", "Dockerfile"])[1]).resolve()
        for body in re.findall(r"^target [^{]+\{(.*?)^\}", bake, re.MULTILINE | re.DOTALL)
        for context in re.findall(r'context += "([^"]+)"', body)
    }
    assert dockerfiles == {file for file in digests.FILES if file.name == "Dockerfile"}


def test_digests_are_written_and_nothing_else_is(root: Path, tmp_path: Path, client: str) -> None:
    own = (root / "docker-compose.yml").read_text()
    file = tmp_path / "docker-compose.yml"
    file.write_text(own)
    assert digests.main(["--client", client, str(file)]) == 1, "tags at other digests are said"
    assert file.read_text() == own, "without --write nothing is written"
    assert digests.main(["--client", client, "--write", "--moved", str(file)]) == 0
    now = digests.images(file.read_text())
    assert now == {image: digest(image) for image in digests.images(own)}
    lines = zip(own.splitlines(), file.read_text().splitlines(), strict=True)
    assert all(before.partition("@sha256")[0] == after.partition("@sha256")[0] for before, after in lines)


def test_a_tag_that_moved_is_said_and_left(tmp_path: Path, client: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "Dockerfile"
    text = f"FROM quay.io/some/one:1.2@{OLD} AS a\nFROM other:3.4\nRUN echo\n"
    file.write_text(text)
    assert digests.main(["--client", client, "--write", str(file)]) == 1
    assert "quay.io/some/one:1.2: MOVED" in capsys.readouterr().out
    assert file.read_text() == text.replace("other:3.4", f"other:3.4@{digest('other:3.4')}")
    assert digests.main(["--client", client, "--write", "--moved", str(file)]) == 0
    assert digests.images(file.read_text())["quay.io/some/one:1.2"] == digest("quay.io/some/one:1.2")
    before = file.read_text()
    assert digests.main(["--client", client, "--write", str(file)]) == 0
    assert file.read_text() == before


def test_nothing_is_written_where_one_registry_does_not_answer(
    tmp_path: Path, client: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM known:1.0\nFROM unknown:1.0\n")
    assert digests.main(["--client", client, "--write", str(file)]) == 1
    assert "No digest of unknown:1.0" in capsys.readouterr().err
    assert file.read_text() == "FROM known:1.0\nFROM unknown:1.0\n"
    assert digests.main(["--client", str(tmp_path / "nothing"), str(file)]) == 1
    assert "Install Docker's buildx" in capsys.readouterr().err
