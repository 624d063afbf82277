"""`medallion ddl apply|status|render`: applies the migrations, and shows them."""

from __future__ import annotations

import sys

import typer

from cli.common.context import DataDirOption, JsonOption, clickhouse, err, load_settings, print_json, print_table
from config.settings import Settings
from ddl import runner
from ddl.plan import State
from ddl.readers import apply_readers, render_readers
from ddl.render import render as render_statements
from deploy.embedded.layout import StackError

app = typer.Typer(help="The numbered migrations in ddl/: apply, compare, show.", no_args_is_help=True)


@app.command()
def apply(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Bring the server in line with the files; repeating it changes nothing."""
    settings = load_settings(data_dir)
    with clickhouse(settings, database="system") as client:
        applied = [*runner.apply(client, settings), *apply_readers(client, settings)]
    if as_json:
        print_json(applied)
        return
    rows = [(item.migration, item.object, str(item.action)) for item in applied]
    print_table("Applied", ("migration", "object", "action"), rows, empty="nothing to do")


@app.command()
def status(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Compare what the server has with what the files say; exit 1 where they differ."""
    settings = load_settings(data_dir)
    with clickhouse(settings, database="system") as client:
        found = runner.status(client, settings)
    if as_json:
        print_json(found)
    else:
        rows = [(item.object, str(item.kind), item.migration, str(item.state), item.detail) for item in found]
        print_table("Objects", ("object", "kind", "migration", "state", "detail"), rows)
    differing = [item for item in found if item.state is not State.APPLIED]
    if differing:
        err.print(f"{len(differing)} of {len(found)} objects differ: `medallion ddl apply`, or see the last column.")
        raise typer.Exit(1)


@app.command()
def render(data_dir: DataDirOption = None) -> None:
    """Print the SQL that would be sent, with settings filled in. Needs no server."""
    try:
        settings = load_settings(data_dir)
    except StackError:
        settings = Settings()
    for statement in [*render_statements(settings), *render_readers(settings)]:
        sys.stdout.write(statement.sql.rstrip() + ";\n\n")
