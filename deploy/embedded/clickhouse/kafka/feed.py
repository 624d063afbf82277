"""Inserts a block into a source's stand-in. If a view behind it fails, the insert fails."""

from __future__ import annotations

import os

import pyarrow as pa

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.kafka.blocks import Block
from deploy.embedded.clickhouse.kafka.definition import VIRTUAL_COLUMNS

_SETTINGS = {
    # With a limit, a block of many days would be refused for ever, and the stream would stop at it.
    "max_partitions_per_insert_block": "0",
    "insert_allow_materialized_columns": "1",
    # With one thread the block is not split: views get it as it was consumed.
    "max_threads": "1",
    "max_insert_threads": "1",
    # These optimisations do nothing for the views in ddl/, but take time for each view and block.
    **dict.fromkeys(
        (
            "query_plan_enable_optimizations",
            "optimize_if_chain_to_multiif",
            "optimize_multiif_to_if",
            "optimize_or_like_chain",
            "optimize_functions_to_subcolumns",
            "convert_query_to_cnf",
            "optimize_move_functions_out_of_any",
            "optimize_arithmetic_operations_in_aggregate_functions",
        ),
        "0",
    ),
    # When a block is inserted again, each table behind the source takes only what it does not have yet.
    "deduplicate_blocks_in_dependent_materialized_views": "1",
}


def insert_block(session: EngineSession, table: tuple[str, str], made: Block) -> None:
    """Insert all rows of a block.

    chDB's streaming inserter (`send_insert`) reports success even if a materialized view fails (26.9). An INSERT …
    SELECT from a file in memory reports the failure.

    Raises:
        EngineError: the table or a view behind it failed. Some views may have the rows.
    """
    kinds = {name: VIRTUAL_COLUMNS.get(name, "String") for name in made.rows.column_names}
    structure = ", ".join(f"{quote_name(name)} {kind}" for name, kind in kinds.items())
    names = ", ".join(quote_name(name) for name in kinds)
    target = ".".join(quote_name(part) for part in table)
    descriptor = os.memfd_create("block", os.MFD_CLOEXEC)
    try:
        path = f"/proc/self/fd/{descriptor}"
        with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, made.rows.schema) as stream:
            stream.write_table(made.rows)
        session.execute(
            f"INSERT INTO {target} ({names}) SELECT {names} "  # noqa: S608 - quoted names
            f"FROM file({quote_string(path)}, 'ArrowStream', {quote_string(structure)})",
            {**_SETTINGS, "insert_deduplication_token": made.token},
        )
    finally:
        os.close(descriptor)
