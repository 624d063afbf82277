"""Kubernetes' API server over etcd: it takes and refuses objects; no controller acts on them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.embedded.ports import free_ports
from tests.go_programs import program
from tests.offload.servers.maven import MissingError

HERE = Path(__file__).parent
# Who may do everything, by --token-auth-file.
TOKEN = "operator-of-the-test"


def find() -> tuple[Path, str]:
    """The API server, built if it never was, and etcd.

    Raises:
        MissingError: no etcd or no Go here, or the server could not be built.
    """
    etcd = shutil.which("etcd")
    if etcd is None:
        raise MissingError("etcd is not installed (Debian: etcd-server)")
    return program(HERE / "apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"), etcd


@dataclass(frozen=True)
class Cluster:
    """Its address, and the folder with `kubeconfig`, for Helm."""

    address: str
    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """Where Helm finds the server."""
        return self.folder / "kubeconfig"

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        """A request as the operator."""
        return requests.request(
            method,
            f"{self.address}{path}",
            json=body,
            verify=str(self.folder / "certificates" / "apiserver.crt"),
            headers={"Authorization": f"Bearer {TOKEN}", **options.pop("headers", {})},
            timeout=60,
            **options,
        )

    def apply(self, manifest: dict[str, Any], namespace: str, *, dry_run: bool) -> requests.Response:
        """Server-side apply; fields that the server does not know are refused."""
        name = manifest["metadata"]["name"]
        return self.ask(
            "PATCH",
            f"{self.path(manifest, namespace)}/{name}",
            manifest,
            headers={"Content-Type": "application/apply-patch+yaml"},
            params={"fieldManager": "test", "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})},
        )

    def path(self, manifest: dict[str, Any], namespace: str) -> str:
        """Where objects of this kind are, by the server's own list of resources."""
        version = manifest["apiVersion"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        (resource,) = (
            one
            for one in self.ask("GET", base).json()["resources"]
            if one["kind"] == manifest["kind"] and "/" not in one["name"]
        )
        return (
            f"{base}/namespaces/{namespace}/{resource['name']}"
            if resource["namespaced"]
            else f"{base}/{resource['name']}"
        )


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Both servers while the context lasts.

    Raises:
        MissingError: as `find`.
    """
    server, etcd = find()
    port, client, peer = free_ports(3)
    key = folder / "accounts.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},operator,operator,system:masters\n")
    store = f"http://127.0.0.1:{client}"
    with (
        (folder / "etcd.log").open("wb") as etcd_log,
        (folder / "apiserver.log").open("wb") as log,
        subprocess.Popen(
            [etcd, f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={store}", f"--advertise-client-urls={store}",
             f"--listen-peer-urls=http://127.0.0.1:{peer}", "--unsafe-no-fsync"],
            stdout=etcd_log, stderr=etcd_log,
        ) as database,
        subprocess.Popen(
            [server, f"--etcd-servers={store}", f"--secure-port={port}", "--bind-address=127.0.0.1",
             f"--cert-dir={folder / 'certificates'}", f"--token-auth-file={folder / 'tokens.csv'}",
             "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
             f"--service-account-signing-key-file={key}", "--authorization-mode=RBAC",
             "--service-cluster-ip-range=10.96.0.0/16"],
            stdout=log, stderr=log,
        ) as kubernetes,
    ):  # fmt: skip
        try:
            running = Cluster(f"https://127.0.0.1:{port}", folder)
            for attempt in Retrying(
                retry=retry_if_exception_type((requests.RequestException, OSError)),
                stop=stop_after_delay(180),
                wait=wait_fixed(0.5),
                reraise=True,
            ):
                with attempt:
                    running.ask("GET", "/readyz").raise_for_status()
            running.kubeconfig.write_text(_kubeconfig(running))
            yield running
        finally:
            kubernetes.terminate()
            kubernetes.wait(60)
            database.terminate()
            database.wait(60)


def _kubeconfig(running: Cluster) -> str:
    authority = str(running.folder / "certificates" / "apiserver.crt")
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": running.address, "certificate-authority": authority}}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
    )
