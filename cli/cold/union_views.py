"""`medallion offload views`: the ClickHouse views that show hot and cold rows as one table."""

from __future__ import annotations

from cli.common.context import DataDirOption, JsonOption, load_settings, print_json, print_table
from offload.retention.union_views import update_union_views


def views(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Make or mend the views `…_all` of hot and cold rows; every offload run does it, this looks at all partitions."""
    found = update_union_views(load_settings(data_dir), check=True)
    if as_json:
        print_json(found)
        return
    print_table(
        "Views of hot and cold rows",
        ("view", "made now", "partitions now read from Iceberg"),
        [(view.view, "yes" if view.created else "no", ", ".join(view.marked)) for view in found],
    )
