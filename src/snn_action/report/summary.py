"""The few lines that a finished run says in the terminal."""

from pathlib import Path
from typing import Any

from snn_action.report.metrics import LEAKED


def describe_metrics(metrics: dict[str, Any], folder: Path) -> str:
    """Accuracy, baseline, pairs and where the report is, from what ``metrics.json`` says."""
    best = metrics.get("mean", metrics)
    spread = metrics.get("std")
    clean = metrics["leakage"]["clean"]
    lines = ["video accuracy: " + _percent(best["accuracy"]["video"], spread and spread["accuracy"]["video"], clean)]
    if best.get("baseline"):
        share = _percent(best["baseline"]["video"], spread and spread["baseline"]["video"], clean)
        lines.append(f"frame-average baseline: {share}")
    for pair in metrics["pairs"]:
        if pair["model"] is not None:
            against = "" if pair["baseline"] is None else f", baseline {_percent(pair['baseline'], None, clean)}"
            lines.append(f"  {' / '.join(pair['classes'])}: {_percent(pair['model'], None, clean)}{against}")
    lines += [f"test videos: {metrics['test_videos']}", f"report: {folder / 'report.html'}"]
    return "\n".join(lines)


def _percent(share: float, spread: float | None, clean: bool) -> str:
    deviation = "" if spread is None else f" (standard deviation over folds {100 * spread:.1f})"
    return f"{100 * share:.1f} %{deviation}" + ("" if clean else f" ({LEAKED})")
