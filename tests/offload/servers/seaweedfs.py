"""SeaweedFS as docker-compose.seaweedfs.yml starts it: its flags and its keys, on free ports and in a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.embedded.ports import free_ports
from tests.deploy.conftest import load_compose, resolve
from tests.go_programs import program
from tests.offload.servers import s3_server

MODULE = Path(__file__).parents[2] / "deploy" / "real" / "seaweedfs"
# Ports that compose leaves as they are, since a container has them to itself.
_OWN_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")


def find() -> Path:
    """The program, built if it never was.

    Raises:
        MissingError: no Go here, or it could not fetch and build the module.
    """
    return program(MODULE, "github.com/seaweedfs/seaweedfs/weed")


@contextmanager
def seaweedfs(folder: Path) -> Iterator[int]:
    """The server, with an empty bucket, while the context lasts; gives the port of S3 on 127.0.0.1."""
    document = load_compose("docker-compose.seaweedfs.yml")
    keys = {"OBJECT_STORE_ACCESS_KEY": s3_server.ACCESS_KEY, "OBJECT_STORE_SECRET_KEY": s3_server.SECRET_KEY}
    folder.mkdir(parents=True)
    (folder / "s3.json").write_text(resolve(document["configs"]["seaweedfs-s3"]["content"], keys))
    (folder / "data").mkdir()
    s3_port, grpc, *others = free_ports(2 + len(_OWN_PORTS))
    here = {"dir": folder / "data", "s3.config": folder / "s3.json", "s3.port": s3_port, "s3.port.grpc": grpc}
    here |= dict(zip(_OWN_PORTS, others, strict=True))
    command = document["services"]["object-store"]["command"]
    assert {"-dir", "-s3.config", "-s3.port"} <= {flag.partition("=")[0] for flag in command}
    kept = [flag for flag in command if flag.removeprefix("-").partition("=")[0] not in here]
    arguments = [str(find()), *kept, *(f"-{name}={value}" for name, value in here.items())]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder) as server,
    ):
        try:
            s3_server.wait_for(s3_port)
            s3_server.files(f"http://127.0.0.1:{s3_port}").create_dir(s3_server.BUCKET, recursive=False)
            outside = {one.laddr.port for one in psutil.Process(server.pid).net_connections("tcp") if _beyond(one)}
            # The second one cannot be turned off; compose keeps it in a network of its own.
            assert outside == {s3_port, grpc}, f"SeaweedFS listens to others at {sorted(outside)}"
            yield s3_port
        finally:
            server.terminate()
            server.wait(60)


def _beyond(connection: psutil._common.pconn) -> bool:
    return bool(connection.status == psutil.CONN_LISTEN and connection.laddr.ip != "127.0.0.1")
