"""`python -m deploy.compose.grafana`: write the dashboards' files, `dashboards/*.json`."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.compose.grafana.boards import BOARDS

FOLDER = Path(__file__).with_name("dashboards")


def files() -> dict[str, str]:
    """File name → content."""
    return {
        f"{name}.json": json.dumps(board.model(), indent=1, ensure_ascii=False) + "\n" for name, board in BOARDS.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
