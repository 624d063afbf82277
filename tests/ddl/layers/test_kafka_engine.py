"""The migrations as they stand, Kafka tables included, on the one engine here that runs them: chdb-core 26.1.0."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from config.settings import Settings
from ddl.plan import without_superseded
from ddl.render import render, render_journal
from ddl.statements import ObjectKind

PYTHON = Path(__file__).resolve().parents[3] / ".venv-conformance" / "bin" / "python"
# A view on a Kafka table would start a consumer; chDB has none, so those two are created on their targets only.
PROGRAM = """
import json, sys
from chdb import session
engine = session.Session()
for sql in json.load(sys.stdin):
    engine.query(sql)
print(engine.query("SELECT name, engine FROM system.tables WHERE database = 'medallion'", "JSONCompact"))
"""


@pytest.mark.conformance
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-conformance: make .venv-conformance/.ready")
def test_the_real_engine_accepts_every_statement() -> None:
    settings = Settings(clickhouse_kafka_brokers="127.0.0.1:1", bronze_shards=2)
    statements = [
        statement
        for statement in (*render_journal(settings), *without_superseded(render(settings), ()))
        if statement.source not in {"trades_raw_queue", "dlq_trades_queue", "producer_gaps_queue"}
    ]
    done = subprocess.run(
        [PYTHON, "-c", PROGRAM],
        input=json.dumps([statement.sql for statement in statements]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    engines = {name: engine for name, engine in json.loads(done.stdout)["data"]}  # noqa: C416
    assert set(engines) == {s.object for s in statements if s.kind not in {ObjectKind.DATABASE, ObjectKind.DATA}}
    kafka = {name for name, engine in engines.items() if engine == "Kafka"}
    assert kafka == {"trades_raw_queue", "bronze_trades_sink", "dlq_trades_queue", "producer_gaps_queue"}
