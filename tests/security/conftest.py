"""A broker and users as the compose stack has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.embedded.kafka import jars
from deploy.embedded.layout import StackError
from tests.deploy.conftest import load_compose, resolve, variables
from tests.security.acls import Asked, ask
from tests.security.kafka import SecureKafka, create_users, grant, secure_kafka


@pytest.fixture(scope="session")
def users_environment() -> dict[str, str]:
    """What compose's job `topics` is told, with a password of its own for each user."""
    document = load_compose("docker-compose.yml")
    secrets = {name: f"{name.lower().replace('_', '-')}-1" for name, how in variables(document).items() if ":?" in how}
    environment: dict[str, Any] = resolve(document["services"]["topics"]["environment"], secrets)
    return {name: str(value) for name, value in environment.items()}


@pytest.fixture(scope="session")
def asked(users_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """The users and grants of compose's `create-users.sh`."""
    return ask(tmp_path_factory.mktemp("users"), users_environment)


@pytest.fixture(scope="module")
def kafka(asked: Asked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Skips, with the reason, where Apache Kafka cannot be run."""
    try:
        jars.find(None)
    except StackError as error:
        pytest.skip(str(error))
    with secure_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        create_users(broker, asked.passwords)
        grant(broker, asked.grants)
        yield broker
