"""``python -m serving``: write what is published of the API anew, from routes, metrics, problems and reasons."""

import json
from pathlib import Path

from serving import metrics_page, openapi, problem_page, reasons

REPOSITORY = Path(__file__).parents[1]


def files() -> dict[str, str]:
    """Path in the repository -> content of every published file."""
    return {
        f"contracts/{openapi.FILE}": json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n",
        "docs/observability.md": metrics_page.page(),
        "docs/problems.md": problem_page.page(),
        "docs/reasons.md": reasons.page(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        (REPOSITORY / path).write_text(text, encoding="utf-8")
