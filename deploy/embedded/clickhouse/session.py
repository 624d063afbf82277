"""A client's session: its engine connection, and the statements that hooks take over."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace

from ddl.quoting import quote_name
from deploy.embedded.clickhouse import summaries
from deploy.embedded.clickhouse.engine.chdb_connection import Progress
from deploy.embedded.clickhouse.engine.engine import Engine, EngineError
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.errors import ACCESS_DENIED, UNKNOWN_TABLE, refusal
from deploy.embedded.clickhouse.sql.policy import Policy, Role, refuse_kafka
from deploy.embedded.clickhouse.sql.query_ids import with_clients_ids
from deploy.embedded.clickhouse.sql.statements import VALUES, Kind, Statement, StatementHook
from deploy.embedded.clickhouse.sql.tokens import scan
from deploy.embedded.clickhouse.summaries import Part

DEFAULT_DATABASE = "default"
_STATEFUL = frozenset({"SET", "USE"})
# With these settings a row of VALUES may have literals only: no expression runs.
_PLAIN_VALUES = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}


@dataclass(frozen=True)
class Request:
    """A client's statement with its settings and parameters."""

    statement: Statement
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


class Session:
    """Runs a client's statements for both interfaces, one at a time.

    Attributes:
        is_pristine: no statement has changed the session's settings, database or temporary tables, so another client
            may get it.
    """

    def __init__(
        self,
        engine: Engine,
        hooks: Sequence[StatementHook] = (),
        database: str = "",
        role: Role = Role.OPERATOR,
        policy: Policy | None = None,
        landing: str = "",
    ) -> None:
        """Open a session.

        Args:
            engine: the node's engine.
            hooks: they take over some statements.
            database: the current database at first; "" for `default`.
            role: whose rights the session has.
            policy: what statements may do; None for a policy that lets nothing outside the database be read.
            landing: the database that hints name to a client that looks for its tables in `default`; "" for no hint.

        Raises:
            EngineError: 81 if there is no such database, 497 if this user may not use it.
        """
        self._engine = engine
        self._hooks = hooks
        self._database = self._own_database = database or DEFAULT_DATABASE
        self._role, self._policy = role, policy or Policy()
        self._landing = landing
        if role is Role.ANALYST and self._database == "system":
            self._policy.read("USE system", role)
        self._engine_session: EngineSession = engine.session(self._database, role)
        self._second_session: EngineSession | None = None
        self._external_tables: list[str] = []
        self.is_pristine = True

    def read(self, sql: str, *, is_whole: bool = True) -> Statement:
        """Parse and admit a client's statement. Every statement passes here.

        Args:
            sql: the statement.
            is_whole: whether `sql` has all rows of an INSERT.

        Raises:
            EngineError: as in `Policy.read`.
        """
        return with_clients_ids(self._policy.read(sql, self._role, is_whole=is_whole))

    def explained(self, error: EngineError) -> EngineError:
        """The error, with a hint if the client looks for its tables in the database `default`."""
        if not self._landing or self._database != DEFAULT_DATABASE or error.code not in {UNKNOWN_TABLE, ACCESS_DENIED}:
            return error
        hint = f"The database {DEFAULT_DATABASE} is empty; the tables are in {self._landing}: connect to that database"
        return EngineError(
            error.code, f"{error.message}. {hint}, or write {self._landing} and a dot before their names."
        )

    def tag(self, query_id: str) -> dict[str, str]:
        """The setting that marks a query with the id that its client gave; none if `query_id` is ""."""
        return self._engine_session.tag(query_id)

    def command(self, request: Request, output_format: str) -> bytes:
        """Run a statement that takes no rows from the client. Returns its whole result, which is often empty.

        Raises:
            EngineError: refused or failed.
        """
        statement = request.statement
        if statement.words[0] in _STATEFUL or "TEMPORARY" in statement.words:
            self.is_pristine = False
        if statement.needs_hook and self._handled(statement):
            return b""
        if statement.needs_hook:
            refuse_kafka(statement)
        with self._reading_outside(self._engine_session, statement.reads_outside):
            result = self._engine_session.query(statement.sql, output_format, request.settings, request.params)
        if statement.words[0] == "CREATE" and "VIEW" in statement.words and "MATERIALIZED" not in statement.words:
            self._engine.share_views()
        self._tell_hooks(statement)
        if statement.words[0] == "USE":
            current = self._engine_session.query("SELECT currentDatabase()", "TSVRaw")
            self._database = self._own_database = current.decode("utf-8", "surrogateescape").rstrip("\n")
        return result

    def use(self, database: str) -> None:
        """Make a database the current one for the next statement.

        Args:
            database: its name; "" for the database of the session's last USE, or that with which it was opened.

        Raises:
            EngineError: 81 if there is no such database.
        """
        wanted = database or self._own_database
        if wanted != self._database:
            self._engine_session.execute(f"USE {quote_name(wanted)}")
            self._database = wanted

    def rows(self, request: Request, output_format: str) -> Generator[bytes, None, None]:
        """Run a reading statement and yield one document in its FORMAT or `output_format`, in bounded memory.

        Raises:
            EngineError: refused or failed, perhaps after part of the result.
        """
        statement = request.statement
        if statement.needs_hook and self._handled(statement):
            return
        with self._reading_outside(self._engine_session, statement.reads_outside):
            yield from self._engine_session.stream_statement(statement, output_format, request.settings, request.params)

    def blocks(self, request: Request) -> Generator[bytes, None, None]:
        """Run any statement but an INSERT with rows, and yield its result as Native blocks.

        Raises:
            EngineError: refused or failed, perhaps after part of the result.
        """
        statement = request.statement
        if statement.kind is not Kind.READ:
            yield from filter(None, [self.command(request, "Native")])
        elif not (statement.needs_hook and self._handled(statement)):
            with self._reading_outside(self._engine_session, statement.reads_outside):
                yield from self._engine_session.blocks(
                    f"{statement.sql} {statement.suffix}".rstrip(), request.settings, request.params
                )

    def result(self, request: Request) -> Generator[tuple[Part, bytes], None, None]:
        """`blocks` with TOTALS and extremes. Each block comes with the part of the result that it holds.

        Raises:
            EngineError: refused or failed, perhaps after part of the result.
        """
        statement, settings = request.statement, {**self._engine_session.own_settings, **request.settings}
        if statement.kind is not Kind.READ or not summaries.may_have_summaries(statement, settings):
            yield from ((Part.ROWS, block) for block in self.blocks(request))
            return
        # Columns first: a session's engine connection does one thing at a time.
        columns = self.columns(request)
        settings = {**request.settings, **summaries.SETTINGS}
        text = self.rows(
            replace(request, statement=replace(statement, output_format=None), settings=settings), summaries.FORMAT
        )
        with closing(text), self._engine.session() as scratch:
            yield from summaries.blocks(text, columns, scratch)

    def setting(self, request: Request, name: str) -> str:
        """The value of a setting that the client gave, with the query or by SET; "" if it gave none."""
        return request.settings.get(name, "") or self._engine_session.own_settings.get(name, "")

    def follow(self, listener: Callable[[Progress], None] | None) -> None:
        """Call a listener with the progress of each query, in the thread that runs the query. None ends this."""
        self._engine_session.follow(listener)

    def columns(self, request: Request) -> list[tuple[str, str]]:
        """Names and types of what a reading statement returns."""
        with self._reading_outside(self._engine_session, request.statement.reads_outside):
            return self._engine_session.columns(request.statement.sql, request.settings, request.params)

    def columns_meanwhile(self, request: Request) -> list[tuple[str, str]]:
        """`columns` while the statement still runs; empty if it needs temporary tables.

        It asks on a second connection, because a connection of the engine runs one query at a time.
        """
        if self._second_session is None:
            self._second_session = self._engine.session(role=self._role)
        try:
            self._second_session.execute(f"USE {quote_name(self._database)}")
            with self._reading_outside(self._second_session, request.statement.reads_outside):
                return self._second_session.columns(request.statement.sql, request.settings, request.params)
        except EngineError:
            return []

    def insert_columns(self, request: Request) -> list[tuple[str, str]]:
        """Names and types of the columns that an INSERT expects.

        Raises:
            EngineError: there is no such table or column.
        """
        return self._engine_session.insert_columns(request.statement, request.settings, request.params)

    def insert(self, request: Request, chunks: Iterable[bytes], input_format: str | None = None) -> int:
        """Insert rows. Returns the number of rows written, those of views included.

        Args:
            request: the INSERT. `Statement.data` is not inserted: the caller puts it at the beginning of `chunks`.
            chunks: the encoded rows, cut anywhere.
            input_format: the format of the rows; None for the statement's own, or Values.

        Raises:
            EngineError: refused or failed.
        """
        statement = request.statement
        wanted = input_format or statement.output_format or VALUES
        settings = request.settings
        if wanted.upper() == VALUES.upper() and not statement.has_checked_data:
            # The policy has not checked rows that stream in, so expressions in them must not run.
            settings = {**settings, **_PLAIN_VALUES}
            _refuse_settings(statement.suffix, _PLAIN_VALUES)
        sql = f"{statement.sql} {statement.suffix}".rstrip()
        with self._reading_outside(self._engine_session, statement.input_call is not None or statement.reads_outside):
            written = self._engine_session.insert(sql, wanted, chunks, settings, request.params)
        self._tell_hooks(statement)
        return written

    def add_external_block(self, name: str, columns: Sequence[tuple[str, str]], block: bytes) -> None:
        """Add a client's Native block to its external table `name`, for the next statement.

        Raises:
            EngineError: an earlier block had other columns, a type is refused, or a temporary table has the name.
        """
        if name not in self._external_tables:
            self._create_external_table(name, ", ".join(f"{quote_name(column)} {kind}" for column, kind in columns))
        self._engine_session.insert(f"INSERT INTO {quote_name(name)}", "Native", [block])

    def add_external_table(
        self, name: str, structure: str, input_format: str, rows: bytes, settings: Mapping[str, str]
    ) -> None:
        """Make an external table of a client for the next statement.

        Args:
            name: its name in the statement.
            structure: its columns, `a UInt8, b String`.
            input_format: the format of `rows`.
            rows: its rows.
            settings: the statement's settings.

        Raises:
            EngineError: the columns or the rows are refused, or a temporary table has the name.
        """
        self._create_external_table(name, structure)
        self._engine_session.insert(
            f"INSERT INTO {quote_name(name)}", input_format, [rows], {**settings, **_PLAIN_VALUES}
        )

    def drop_external_tables(self) -> None:
        """Drop the client's external tables."""
        while self._external_tables:
            self._engine_session.drop_temporary_table(self._external_tables.pop())

    def kill(self) -> None:
        """Kill the running query. Any thread may call it."""
        self._engine_session.kill()

    def close(self) -> None:
        """Close the engine connections."""
        if self._second_session is not None:
            self._second_session.close()
        self._engine_session.close()

    @contextmanager
    def _reading_outside(self, session: EngineSession, reads_outside: bool) -> Iterator[None]:
        """Give one statement the role that may read outside the database. The policy has allowed all places in it."""
        if not reads_outside:
            yield
            return
        session.take_role("reader")
        try:
            yield
        finally:
            session.take_role(self._role.value)

    def _create_external_table(self, name: str, structure: str) -> None:
        """The columns are the client's text, so the policy checks this statement like one of the client's."""
        declared = self.read(f"CREATE TEMPORARY TABLE {quote_name(name)} ({structure}) ENGINE = Memory")
        self._engine_session.execute(declared.sql)
        self._external_tables.append(name)

    def _handled(self, statement: Statement) -> bool:
        """Whether a hook has taken over the statement."""
        if not self._hooks:
            return False
        return any(hook.handle(statement.sql, self._database, self._engine_session.execute) for hook in self._hooks)

    def _tell_hooks(self, statement: Statement) -> None:
        for hook in self._hooks:
            hook.after(statement.words, self._database)


def _refuse_settings(clause: str, names: Iterable[str]) -> None:
    """Refuse a SETTINGS clause with a setting whose value the node decides."""
    for token in scan(clause):
        if token.name in names:
            reason = f"{token.name} is decided by the node for rows that are not part of the statement"
            raise refusal(ACCESS_DENIED, "ACCESS_DENIED", reason)
