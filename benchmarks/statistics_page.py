"""Put the figures of docs/coverage.csv and docs/clustering.csv into docs/statistics.md, between its markers.

python benchmarks/statistics_page.py
"""

import csv
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def table(rows: list[dict], columns: dict[str, str]) -> str:
    """Markdown table of the columns (key -> heading) that some row has."""
    used = {key: head for key, head in columns.items() if any(row.get(key) for row in rows)}
    lines = ["| " + " | ".join(used.values()) + " |", "|" + "---|" * len(used)]
    lines += ["| " + " | ".join(row.get(key) or "" for key in used) + " |" for row in rows]
    return "\n".join(lines)


COLUMNS = {
    "setting": "setting",
    "estimator": "estimator",
    "sets": "sets",
    "ari": "adjusted Rand index",
    "classes": "classes found, each seed",
    "told_apart": "true classes told apart",
    "true_classes": "true classes",
    "bias_percent": "bias %",
    "rmse_percent": "RMSE %",
    "coverage_percent": "coverage %",
    "coverage_range_percent": "single entries %",
    "recall": "recall",
    "precision": "precision",
    "rms_nm": "rms error nm",
    "largest_nm": "largest nm",
    "movies_off_by_a_lattice_vector": "movies off by a lattice vector",
    "seconds_per_set": "s per set (CPU)",
}


def read(name: str) -> list[dict]:
    """Rows of a CSV file in docs; none when it is not there."""
    path = DOCS / name
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Rewrite the tables; text outside the markers stays."""
    rows = read("coverage.csv") + [row | {"part": "clustering"} for row in read("clustering.csv")]
    page = (DOCS / "statistics.md").read_text()
    for name in ("tracks", "points", "chains", "centres", "pixels", "clustering", "linking"):
        parts = ["linking", "drift"] if name == "linking" else [name]
        tables = [table([r for r in rows if r["part"] == part], COLUMNS) for part in parts]
        body = "\n\n".join(t for t in tables if t.count("\n") > 1)
        marked = f"<!-- {name} -->\n{body}\n<!-- end {name} -->"
        pattern = rf"<!-- {name} -->(?:.*?<!-- end {name} -->)?"
        page = re.sub(pattern, lambda _, text=marked: text, page, count=1, flags=re.S)
    (DOCS / "statistics.md").write_text(page)


if __name__ == "__main__":
    main()
