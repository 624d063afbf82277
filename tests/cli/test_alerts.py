"""`medallion alert test` and the line in `medallion status`, against a real Alertmanager with compose's own file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from cli.main import app
from cli.stack.alerts import NOBODY, AlertError, Watch, send, watch
from cli.stack.doctor.cold import alerts
from config.settings import Settings
from deploy.embedded.ports import free_ports
from tests.alertmanager import Desk, alertmanager, find, status_of
from tests.offload.servers.maven import MissingError

Start = Callable[..., Settings]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def webhook(desk: Desk) -> Iterator[str]:
    with desk.listening() as address:
        yield address


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Alertmanager with these variables of `.env`; the settings of a client of it."""
    try:
        find("alertmanager")
    except MissingError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:

        def run(**environment: str) -> Settings:
            return Settings(alertmanager_url=stack.enter_context(alertmanager(tmp_path, **environment)))

        yield run


def test_a_test_alert_reaches_the_receiver(start: Start, desk: Desk, webhook: str) -> None:
    settings = start(ALERT_RECEIVER="webhook", ALERT_WEBHOOK_URL=webhook)
    assert watch(settings) == Watch()
    assert alerts(settings).outcome == "ok"
    delivery = send(settings, 60)
    assert delivery.integrations == ("webhook",)
    assert [alert["labels"]["alertname"] for alert in desk.alerts] == ["MedallionTest"]
    # A second one is not taken for the first.
    send(settings, 60)
    assert len({alert["labels"]["run"] for alert in desk.alerts}) == 2


def test_a_receiver_that_refuses_is_named(start: Start, desk: Desk, webhook: str) -> None:
    desk.status = 403
    settings = start(ALERT_RECEIVER="webhook", ALERT_WEBHOOK_URL=webhook)
    with pytest.raises(AlertError, match="webhook refused it"):
        send(settings, 5)


def test_nobody_is_said_loudly(start: Start) -> None:
    settings = start()
    assert watch(settings) == Watch(warning=NOBODY)
    assert (alerts(settings).outcome, alerts(settings).remedy) == ("warn", NOBODY)
    with pytest.raises(AlertError) as said:
        send(settings, 60)
    assert str(said.value) == NOBODY, "nothing was sent, so nothing is waited for"


def test_an_alertmanager_that_is_away_is_said(settings_of_nothing: Settings) -> None:
    assert "does not answer" in watch(settings_of_nothing).unknown
    assert watch(Settings()) == Watch(), "a stack without Alertmanager has nobody to tell"


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The environment names a broker with nothing in its topics; neither ClickHouse nor an embedded stack is there."""
    (nobody,) = free_ports(1)
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", str(nobody))
    cluster = Producer({"test.mock.num.brokers": 1})
    known = Settings()
    for topic in (*known.raw_topics, known.bronze_topic, known.dlq_topic, known.gaps_topic):
        brokers = cluster.list_topics(topic, timeout=30).brokers.values()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", ",".join(f"{one.host}:{one.port}" for one in brokers))
    yield
    cluster.flush(0)


def test_status_of_a_deployed_stack_says_that_alertmanager_is_away(
    deployed: None, settings_of_nothing: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_ALERTMANAGER_URL", settings_of_nothing.alertmanager_url)
    shown = CliRunner().invoke(app, ["status"])
    assert "Behind: nothing" in shown.output
    assert "Alertmanager does not answer" in shown.output
    said = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert "Alertmanager does not answer" in said["alerts"]
    assert {lag["messages"] for lag in said["lag"]} == {0}


def test_status_of_a_deployed_stack_says_that_alerts_reach_nobody(
    deployed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a line of its own, which is there only while no receiver is set."""
    with status_of() as address:
        monkeypatch.setenv("MEDALLION_ALERTMANAGER_URL", address)
        shown = CliRunner().invoke(app, ["status"])
        assert NOBODY in shown.stdout.splitlines()
        assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["alerts"] == NOBODY
        assert alerts(Settings()).remedy == NOBODY
    with status_of(ALERT_RECEIVER="webhook") as address:
        monkeypatch.setenv("MEDALLION_ALERTMANAGER_URL", address)
        assert "reach nobody" not in CliRunner().invoke(app, ["status"]).stdout
        assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["alerts"] is None


@pytest.fixture
def settings_of_nothing() -> Settings:
    (port,) = free_ports(1)
    return Settings(alertmanager_url=f"http://127.0.0.1:{port}")
