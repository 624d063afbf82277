"""`.ci/audit`: what it makes of pip-audit's answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLEAN = {"name": "a", "version": "1.0", "vulns": []}
FLAWED = {"name": "b", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    """Runs the script with a pip-audit that answers as told."""

    def audit(answer: str, **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "pip_audit.py").write_text(f"print({answer!r})")
        command = [sys.executable, str(root / ".ci/audit"), "requirements.txt"]
        variables = {**os.environ, "PYTHONPATH": str(tmp_path), **environment}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    return audit


def answer(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_known_vulnerability_fails_and_is_named(run: Run) -> None:
    done = run(answer(CLEAN, FLAWED))
    assert done.returncode == 1
    assert "b 2.0: PYSEC-1, fixed in 2.1" in done.stdout


def test_nothing_known_passes_in_silence(run: Run) -> None:
    done = run(answer(CLEAN))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("said", [answer(SKIPPED), answer(CLEAN, SKIPPED), answer(), "no JSON at all"])
def test_a_service_that_was_not_asked_is_a_warning_never_a_clean_bill(run: Run, said: str) -> None:
    done = run(said)
    assert done.returncode == 0
    assert "WARNING: the vulnerability service could not be asked" in done.stderr
    assert run(said, MEDALLION_AUDIT="required").returncode == 1


def test_the_project_is_audited_by_make_audit_and_by_night(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    audit = makefile.partition("\naudit:")[2].partition("\n\n")[0]
    assert ".ci/audit requirements.txt requirements-dev.txt" in audit
    assert "audit" in makefile.partition("\nnightly:")[2].partition("\n")[0].split()
