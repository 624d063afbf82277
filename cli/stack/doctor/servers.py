"""Checks of a stack's hot side: its processes, ClickHouse, migrations, topics, Silver workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from confluent_kafka.admin import AdminClient

from cli.common.context import clickhouse
from cli.common.statements import sql_text
from cli.common.workers import UNKNOWN, WorkerRules
from cli.stack.doctor.finding import Finding
from config.connections import kafka_client
from config.settings import Settings
from ddl import runner
from ddl.grants import lacking
from ddl.plan import State
from ddl.readers import SUFFIX, is_readers_database, missing_readers
from ddl.runner import ObjectStatus
from deploy.embedded.kafka.topics import wanted
from deploy.embedded.layout import StackState

# The oldest engine that runs the migrations in the tests (tests/conformance).
OLDEST_CLICKHOUSE = (26, 1)
_BROKER_S = 10.0
_SHOWN = 5
_LONGEST = 300
# The server's own database: the pipeline's need not exist yet.
_SYSTEM = "system"


def processes(state: StackState) -> Finding:
    """Every process of an embedded stack is healthy."""
    ill = [f"{one.name} {one.state} {one.detail}".rstrip() for one in state.services if one.state != "healthy"]
    if ill or state.state != "healthy":
        found = "; ".join(ill or [f"the stack is {state.state} {state.detail}".rstrip()])
        return Finding("processes", "fail", found, f"`medallion status`; {state.data_dir / 'logs'} has the reason")
    return Finding("processes", "ok", f"{', '.join(one.name for one in state.services)}: healthy")


def server(settings: Settings) -> Finding:
    """ClickHouse answers, in a version that the migrations were run on.

    Raises:
        ServerError: it does not answer.
    """
    with clickhouse(settings, _SYSTEM) as client:
        ((version,),) = client.execute(sql_text("server"))
    return server_version(str(version))


def server_version(version: str) -> Finding:
    """`version`: such as `26.8.20.9`."""
    oldest = ".".join(map(str, OLDEST_CLICKHOUSE))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_CLICKHOUSE:
        return Finding("clickhouse", "warn", version, f"upgrade it: nothing before {oldest} is tested")
    return Finding("clickhouse", "ok", f"{version} answers")


def grants(settings: Settings) -> Finding:
    """The user may do what services and commands do.

    Raises:
        ServerError: ClickHouse does not answer.
    """
    with clickhouse(settings, _SYSTEM) as client:
        return granted(settings.clickhouse_user, lacking(client, settings))


def granted(user: str, missing: Sequence[str]) -> Finding:
    """`missing`: what the user lacks (`ddl.grants.lacking`)."""
    if missing:
        remedy = "grant it (compose: users.xml), or log in as the user of the services: MEDALLION_CLICKHOUSE_USER"
        return Finding("grants", "fail", f"user {user} lacks {', '.join(missing)}", remedy)
    return Finding("grants", "ok", f"user {user} may do what services and commands do")


def migrations(settings: Settings) -> Finding:
    """The database is as the migrations make it, as `medallion ddl status` says.

    Of the readers' database of a cluster, whose objects every `ddl apply` makes again, none may be missing.

    Raises:
        ServerError: ClickHouse does not answer.
    """
    with clickhouse(settings, _SYSTEM) as client:
        if is_readers_database(settings):
            return compare_readers(settings.clickhouse_database, missing_readers(client, settings))
        return compare_objects(runner.status(client, settings))


def compare_readers(database: str, missing: Sequence[str]) -> Finding:
    """`missing`: what the readers' database lacks (`ddl.readers.missing_readers`)."""
    if missing:
        remedy = "run the job of the migrations again (`medallion ddl apply` with MEDALLION_CLICKHOUSE_CLUSTER)"
        return Finding("migrations", "fail", f"{database} lacks {_some(missing)}", remedy)
    return Finding("migrations", "ok", f"{database} has every table and view over all shards")


def compare_objects(objects: Sequence[ObjectStatus]) -> Finding:
    """An object that no migration makes is a warning, every other difference a failure."""
    differing = [one for one in objects if one.state is not State.APPLIED]
    if not differing:
        return Finding("migrations", "ok", f"{len(objects)} objects are as the migrations make them")
    found = _some([f"{one.object} {one.state}" for one in differing])
    if all(one.state is State.UNEXPECTED for one in differing):
        return Finding("migrations", "warn", found, "`medallion ddl status` says what to do with each")
    return Finding(
        "migrations", "fail", found, "`medallion ddl apply`; what it refuses, `medallion ddl status` explains"
    )


def refreshes(settings: Settings) -> Finding:
    """ClickHouse makes the copy that `latest_prices` reads. On a cluster: the server that is asked does.

    Raises:
        ServerError: ClickHouse does not answer.
    """
    shard = settings.clickhouse_database.removesuffix(SUFFIX)
    with clickhouse(settings, _SYSTEM) as client:
        rows = client.execute(sql_text("refreshes"))
    return refreshed({view: (exception, made_at) for database, view, exception, made_at in rows if database == shard})


def refreshed(views: Mapping[str, tuple[str, str | None]]) -> Finding:
    """`views`: of each view that has a schedule the last failure, "" if there is none, and when it last succeeded."""
    if not views:
        return Finding("prices", "fail", "no view makes latest_prices", "`medallion ddl apply`")
    ill = [
        f"{view} failed, last made at {made_at or 'no time'}: {exception or 'never ran'}"
        for view, (exception, made_at) in views.items()
        if exception or not made_at
    ]
    if ill:
        remedy = "mend what ClickHouse names; until then read latest_prices_live, which needs no copy"
        return Finding("prices", "fail", "; ".join(ill)[:_LONGEST], remedy)
    return Finding("prices", "ok", f"latest_prices was made at {', '.join(str(at) for _, at in views.values())}")


def topics(settings: Settings) -> Finding:
    """The broker answers and has the pipeline's topics.

    Raises:
        confluent_kafka.KafkaException: it does not answer.
    """
    known = AdminClient({**kafka_client(settings), "log_level": 0}).list_topics(timeout=_BROKER_S).topics
    return compare_topics(
        {name: len(topic.partitions) for name, topic in known.items()},
        {topic.topic: topic.num_partitions for topic in wanted(settings)},
    )


def compare_topics(found: Mapping[str, int], expected: Mapping[str, int]) -> Finding:
    """A missing topic is a failure, fewer partitions than expected a warning; more do no harm.

    Both: partitions by topic.
    """
    if missing := [name for name in expected if not found.get(name)]:
        remedy = (
            "make them (compose: the service `topics`; any broker: `python -m deploy.compose.topics`), or let this "
            "user describe them"
        )
        return Finding("topics", "fail", f"not there: {_some(missing)}", remedy)
    if few := [f"{name} has {found[name]} of {count}" for name, count in expected.items() if found[name] < count]:
        remedy = "add partitions while nothing is in flight (`medallion drain`), with the broker's own tool"
        return Finding("topics", "warn", f"partitions: {_some(few)}", remedy)
    return Finding("topics", "ok", f"{len(expected)} topics, {sum(found[name] for name in expected)} partitions")


def workers(rules: Sequence[WorkerRules]) -> Finding:
    """Every Silver worker validates, and all by one version of the rules."""
    if not rules:
        return Finding("silver", "warn", "which Silver workers run is not known here", UNKNOWN)
    if silent := [f"{one.worker}: {one.detail or 'rules unknown'}" for one in rules if not one.rules_version]:
        remedy = "see the worker's log and /readyz; `medallion status` shows all of them"
        return Finding("silver", "fail", "; ".join(silent), remedy)
    versions = sorted({one.rules_version for one in rules})
    if len(versions) > 1:
        by = ", ".join(f"{one.worker} by {one.rules_version}" for one in rules)
        remedy = "give all workers one symbols file and one release; they follow a changed file within seconds"
        return Finding("silver", "fail", f"several versions of the rules: {by}", remedy)
    return Finding("silver", "ok", f"{', '.join(one.worker for one in rules)} by rules {versions[0]}")


def _some(words: Sequence[str]) -> str:
    rest = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + rest
