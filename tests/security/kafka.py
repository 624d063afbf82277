"""Apache Kafka with a listener that wants TLS and SCRAM, and the users and grants of the compose stack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from deploy.embedded.kafka import jars, server, topics
from deploy.embedded.ports import free_ports
from tests.certificates import Authority
from tests.security.acls import Grant

_ITERATIONS = 4096
_RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}


@dataclass(frozen=True)
class SecureKafka:
    """`servers` wants TLS and a login; `plain` is the superuser's way in, without either."""

    servers: str
    plain: str
    authority: Authority

    def login(self, user: str, password: str, **changed: Any) -> dict[str, Any]:
        """The settings of a client that logs in as `user`."""
        return {
            "kafka_bootstrap_servers": self.servers,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ca_file": self.authority.certificate,
            "kafka_sasl_username": user,
            "kafka_sasl_password": password,
            **changed,
        }


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """A running broker with the pipeline's topics and nobody's grants; ends with the block."""
    kafka = jars.find(None)
    authority = Authority(folder)
    plain = server.prepare(folder / "kafka", kafka, Settings().kafka_max_message_bytes)
    (port,) = free_ports(1)
    with (folder / "kafka" / "server.properties").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in _properties(plain, port, authority.server()).items())
    argv = server.argv(folder / "kafka", kafka)
    with (folder / "kafka.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env=dict(os.environ))
        try:
            wait = Retrying(retry=retry_if_result(lambda up: not up), stop=stop_after_delay(90), wait=wait_fixed(0.2))
            wait(topics.answers, {"bootstrap.servers": plain})
            topics.create(Settings(kafka_bootstrap_servers=plain))
            yield SecureKafka(f"localhost:{port}", plain, authority)
        finally:
            process.terminate()
            process.wait(60)


def _properties(plain: str, port: int, pem: Path) -> dict[str, str]:
    """Added to the node's own; of two lines with one name Java takes the later."""
    controller = next(
        line.partition("CONTROLLER://")[2]
        for line in (pem.parent / "kafka" / "server.properties").read_text().splitlines()
        if line.startswith("listeners=")
    )
    listener = "listener.name.secure"
    return {
        "listeners": f"BROKER://{plain},SECURE://localhost:{port},CONTROLLER://{controller}",
        "advertised.listeners": f"BROKER://{plain},SECURE://localhost:{port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
        f"{listener}.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        **{
            f"{listener}.scram-sha-{bits}.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            )
            for bits in (256, 512)
        },
        f"{listener}.ssl.keystore.type": "PEM",
        f"{listener}.ssl.keystore.location": str(pem),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Whoever comes by the plain listener has no name.
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }


def create_users(kafka: SecureKafka, passwords: Mapping[str, str], mechanism: str = "SCRAM-SHA-256") -> None:
    """With these passwords; a user that exists gets the new one."""
    admin = AdminClient({"bootstrap.servers": kafka.plain})
    kind = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}[mechanism]
    changes = [
        UserScramCredentialUpsertion(user, ScramCredentialInfo(kind, _ITERATIONS), password.encode())
        for user, password in passwords.items()
    ]
    for future in admin.alter_user_scram_credentials(changes).values():
        future.result(30)


def grant(kafka: SecureKafka, grants: set[Grant]) -> None:
    """Let users do what the compose stack lets them do."""
    admin = AdminClient({"bootstrap.servers": kafka.plain})
    bindings = [
        AclBinding(
            _RESOURCES[one.kind],
            one.name,
            ResourcePatternType.PREFIXED if one.is_prefix else ResourcePatternType.LITERAL,
            f"User:{one.user}",
            "*",
            getattr(AclOperation, one.operation.replace("-", "_").upper()),
            AclPermissionType.ALLOW,
        )
        for one in grants
    ]
    for future in admin.create_acls(bindings).values():
        future.result(30)
