"""The few lines that a finished run says in the terminal."""

from pathlib import Path
from typing import Any

from snn_action.core.errors import printable
from snn_action.report.metrics import LEAKED


def describe_metrics(metrics: dict[str, Any], folder: Path) -> str:
    """Accuracy, baseline, pairs and where the report is, from what ``metrics.json`` says."""
    best = metrics.get("mean", metrics)
    spread = metrics.get("std")
    clean = metrics["leakage"]["clean"]
    lines = ["video accuracy: " + _percent(best["accuracy"]["video"], spread and spread["accuracy"]["video"], clean)]
    if best.get("baseline"):
        share = _percent(best["baseline"]["video"], spread and spread["baseline"]["video"], clean)
        lines.append(f"mean-pool baseline: {share}")
    for pair in metrics["pairs"]:
        if pair["model"] is not None:
            against = "" if pair["baseline"] is None else f", baseline {_percent(pair['baseline'], None, clean)}"
            lines.append(f"  {' / '.join(pair['classes'])}: {_percent(pair['model'], None, clean)}{against}")
    shared, unshared = (metrics["leakage"].get(side, {}) for side in ("shared", "unshared"))
    if shared.get("videos") and unshared.get("videos"):
        own, other = (_percent(side["accuracy"], None, True) for side in (unshared, shared))
        lines.append(
            f"  {unshared['videos']} test videos that share no group with training: {own}; "
            f"the {shared['videos']} that do: {other}"
        )
    if controls := metrics.get("controls"):
        orders = (("frames in random order", "shuffled"), ("first frame repeated", "first_frame"))
        texts = [f"{words} {_percent(controls[name]['accuracy']['video'], None, clean)}" for words, name in orders]
        lines.append(f"the same weights, {', '.join(texts)}")
    if metrics["leakage"].get("not_compared"):
        lines.append(f"leakage: {metrics['leakage']['verdict']}")
    lines += [f"test videos: {metrics['test_videos']}", f"report: {folder / 'report.html'}"]
    return "\n".join(map(printable, lines))


def _percent(share: float, spread: float | None, clean: bool) -> str:
    deviation = "" if spread is None else f" (standard deviation over folds {100 * spread:.1f})"
    return f"{100 * share:.1f} %{deviation}" + ("" if clean else f" ({LEAKED})")
