"""Inserts a block into a source's stand-in, so that every view behind it has it or the insert fails."""

from __future__ import annotations

import os

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine_session import EngineSession
from deploy.embedded.clickhouse.kafka.blocks import Block
from deploy.embedded.clickhouse.kafka.definition import VIRTUAL_COLUMNS

_SETTINGS = {
    # A block that spans more days than the limit would otherwise stall the stream for ever.
    "max_partitions_per_insert_block": "0",
    "insert_allow_materialized_columns": "1",
    # One thread and no splitting: the block reaches the views as it was consumed.
    "max_threads": "1",
    "max_insert_threads": "1",
    # Optimisations that find nothing in the migrations' views and are planned for each of them with every block.
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
    # Each table behind the source takes in what it does not have of a block that is inserted again.
    "deduplicate_blocks_in_dependent_materialized_views": "1",
}


def insert_block(session: EngineSession, table: tuple[str, str], made: Block) -> None:
    """Insert all rows of a block.

    An INSERT that chDB streams (`send_insert`) answers "ok" when a materialized view threw (26.9): an INSERT … SELECT
    from a file
    in memory does not.

    Raises:
        EngineError: the table or a view behind it refused; some views may have the rows.
    """
    kinds = {name: VIRTUAL_COLUMNS.get(name, "String") for name in made.columns}
    structure = ", ".join(f"{quote_name(name)} {kind}" for name, kind in kinds.items())
    names = ", ".join(quote_name(name) for name in kinds)
    target = ".".join(quote_name(part) for part in table)
    descriptor = os.memfd_create("block", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(made.data)
        session.execute(
            f"INSERT INTO {target} ({names}) SELECT {names} "  # noqa: S608 - quoted names
            f"FROM file('/proc/self/fd/{descriptor}', 'ArrowStream', {quote_string(structure)})",
            {**_SETTINGS, "insert_deduplication_token": made.token},
        )
    finally:
        os.close(descriptor)
