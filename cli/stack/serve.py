"""`medallion serve`: serves the page and the market-data interfaces."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from cli.common.context import DataDirOption, deployed
from config.process import logs
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.services import analyst_environment
from producers.simulator.protocols import PROTOCOLS


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; any other than loopback needs MEDALLION_SERVING_TOKEN.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="TCP port.", min=1, max=65535)] = None,
    data_dir: DataDirOption = None,
) -> None:
    """Serve the page and Binance's REST and WebSocket interfaces until SIGTERM or Ctrl-C.

    On an embedded stack it reads ClickHouse as the user `analyst`.
    """
    from serving.server import serve as run  # noqa: PLC0415 - the web framework, which no other command needs

    given = {name: value for name, value in (("serving_host", host), ("serving_port", port)) if value is not None}
    settings = _settings(data_dir).model_copy(update=given)
    logs.configure(settings.log_level, "serving")
    # Ctrl-C ends it like SIGTERM; the server raises the interrupt again when it has closed.
    with contextlib.suppress(KeyboardInterrupt):
        run(settings, PROTOCOLS)


def _settings(data_dir: Path | None) -> Settings:
    """With the analyst's user of an embedded stack, or the user that the environment names of a deployed one."""
    if data_dir is None and deployed():
        return Settings()
    state = control.find(data_dir)
    return Settings.from_environment(analyst_environment(state.data_dir, state.environment))
