"""The Job of many days: each pod has a day of its own, and together they have all of them."""

from __future__ import annotations

import os
import subprocess
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.real.conftest import COMMANDS, Render
from tests.deploy.test_cluster import TRAFFIC, WORKLOADS, allowed, component, days_pod
from tests.deploy.test_settings_known import _parse

pytestmark = [pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.timeout(7200)]


def asked(month: dict[str, Any], index: int, folder: Path) -> list[str]:
    """What the pod of this index runs, by a `medallion` that prints its arguments."""
    program = folder / "medallion"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    (container,) = month["spec"]["template"]["spec"]["containers"]
    told = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    environment = {**told, "PATH": f"{folder}{os.pathsep}/usr/bin:/bin", "JOB_COMPLETION_INDEX": str(index)}
    done = subprocess.run(
        [*container["command"], *container["args"]], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_pods_have_every_day_once(month: dict[str, Any], tmp_path: Path) -> None:
    from cli.main import app

    (container,) = month["spec"]["template"]["spec"]["containers"]
    command = COMMANDS[container["args"][0]]
    for index in range(month["spec"]["completions"]):
        day = date(2026, 10, 1) + timedelta(index)
        arguments = asked(month, index, tmp_path)
        assert arguments == [*command, "--from", f"{day}", "--to", f"{day + timedelta(1)}"]
        _parse(typer.main.get_command(app), arguments)
    assert month["spec"]["completions"] == 31


def test_the_job_is_valid_and_a_day_that_fails_does_not_stop_the_others(month: dict[str, Any]) -> None:
    kubernetes_validate.validate({**month, "metadata": {**month["metadata"], "name": "days"}}, "1.33", strict=True)
    assert month["spec"]["completionMode"] == "Indexed"
    assert month["spec"]["backoffLimitPerIndex"] > 0


def test_the_policies_let_its_pods_do_their_work_and_no_more(month: dict[str, Any]) -> None:
    """The fast tier has a pod with the labels that this one is to have."""
    manifests = [one for one in yaml.safe_load_all((ROOT / "deploy/cluster/rendered.yaml").read_text()) if one]
    pods = {one["metadata"]["name"]: one["spec"]["template"] for one in manifests if one["kind"] in WORKLOADS}
    pod = month["spec"]["template"]
    assert pod["metadata"]["labels"] == days_pod(pods)["metadata"]["labels"]
    found = {
        (component(pod), component(other), port)
        for other in pods.values()
        for port in (8123, 9000, 9092, 9181)
        if allowed(manifests, pod, other, port)
    }
    assert found == {one for one in TRAFFIC if one[0] == "days"}


def test_an_installation_has_none(render_days: Render) -> None:
    assert render_days().returncode, "a Job of days is rendered without being asked for"
