"""What every benchmark shares: percentiles, a table on the screen, JSON in benchmarks/results/."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 in the unit of the values; empty for none."""
    if not values_ms:
        return {}
    found = np.percentile(values_ms, (50, 95, 99))
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}


def machine() -> dict[str, Any]:
    """Enough to tell runs on different machines apart."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as aligned text."""
    heads = list(rows[0])
    cells = [[str(row.get(head, "")) for head in heads] for row in rows]
    widths = [max(len(head), *(len(line[index]) for line in cells)) for index, head in enumerate(heads)]
    lines = [heads, ["-" * width for width in widths], *cells]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def publish(name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Print the table and write the JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), "rows": rows, **more}, indent=2) + "\n")
    print(table(rows))
    for key, value in more.items():
        print(f"{key}: {value}")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
