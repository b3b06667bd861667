"""The card of a packed model: what it is, what it reached, on what, and what its reader must know; JSON and text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import snn_action
from snn_action.core.errors import ConfigError
from snn_action.core.reading import read_text, reading
from snn_action.report.metrics import Metrics
from snn_action.runs.split import Sides, Split

NO_LICENSE = "not stated: ask the one who packed it what may be done with it"
_TIMES = "\N{MULTIPLICATION SIGN}"


def make_card(
    folder: Path,
    split: Split,
    sides: Sides,
    settings: Mapping[str, Any],
    license_note: str,
    weight_bits: int | None = None,
) -> dict[str, Any]:
    """The card of one fold of a run.

    Args:
        folder: Of the run; its ``metrics.json`` may be missing.
        split: What the run decided.
        sides: The fold.
        settings: The pack's.
        license_note: Words about what may be done with the weights.
        weight_bits: That its matrices were trained to have; None: they are not rounded.

    Raises:
        ConfigError: ``metrics.json`` is broken.
    """
    return {
        "name": folder.resolve().parent.name,
        "run": folder.resolve().name,
        "fold": sides.name,
        "written_by": f"snn-action {snn_action.__version__}",
        "license": license_note,
        "model": settings["model"]["type"],
        "weight_bits": weight_bits,
        "backbone": settings["backbone"]["name"],
        "clip": settings["clip"],
        "classes": list(split.class_names),
        "training_videos": len(sides.train),
        "validation_videos": len(sides.validation),
        "results": _read_results(folder / "metrics.json", sides),
    }


def _read_results(path: Path, sides: Sides) -> dict[str, Any] | None:
    """Accuracy of the fold on its test videos, shares from 0 to 1; None where it was not tested."""
    if not path.exists():
        return None
    with reading(path, "broken"):
        try:
            metrics = Metrics.model_validate_json(read_text(path))
        except ValidationError as error:
            raise ConfigError(f"{path}: broken: {error.errors()[0]['msg']}; test the run again") from None
    folds = [fold for fold in metrics.folds if fold.name == sides.name]
    tested = folds[0] if folds else metrics
    known = metrics.calibration
    after = None if known is None else known.after
    return {
        "test_videos": tested.test_videos,
        "accuracy": tested.accuracy.model_dump(),
        "baseline": None if tested.baseline is None else tested.baseline.video,
        "clean_test": None if metrics.leakage is None else metrics.leakage.clean,
        "calibration_error": None if after is None else after.error,
    }


def describe_card(card: Mapping[str, Any], backbone: Mapping[str, Any], calibration: Mapping[str, Any] | None) -> str:
    """The card as Markdown."""
    clip, results = card["clip"], card["results"]
    where = "in this file" if backbone["packed"] else "not in this file"
    bits = "" if card["weight_bits"] is None else f", its matrices rounded to {card['weight_bits']} bits,"
    lines = [
        f"# {card['name']}",
        "",
        f"Recognizes {len(card['classes'])} human actions in video: {', '.join(card['classes'])}.",
        "",
        f"- License: {card['license']}. The weights of the backbone have terms of their own.",
        f"- Model: `{card['model']}`{bits} on `{card['backbone']}` (weights {where}: {backbone['weights']}, digest "
        f"{backbone['digest'][:16]}; trained on {backbone['trained_on']})",
        f"- Clips: {clip['frames']} frames, sampling `{clip['sampling']}`, streams {', '.join(clip['streams'])}, "
        f"images of {backbone['size']} {_TIMES} {backbone['size']}",
        f"- Trained on {card['training_videos']} videos, {card['validation_videos']} more to choose by; fold "
        f"{card['fold']} of run {card['run']}, {card['written_by']}",
    ]
    if results is None:
        lines.append("- Not tested.")
    else:
        baseline = "" if results["baseline"] is None else f", baseline {100 * results['baseline']:.1f} %"
        unclean = "" if results["clean_test"] else ", **a test that is not clean**"
        lines.append(
            f"- Video accuracy on {results['test_videos']} test videos: {100 * results['accuracy']['video']:.1f} %"
            f"{baseline}{unclean}"
        )
    if calibration is None:
        lines.append("- Not calibrated: it names one of its classes for every video, also for one of another action.")
    else:
        error = None if results is None else results["calibration_error"]
        measured = "" if error is None else f", calibration error {100 * error:.1f} %"
        lines.append(
            f"- Calibrated on {calibration['videos']} held-out videos (temperature {calibration['temperature']:.3f}"
            f"{measured}); calls a video unknown by the score `{calibration['score']}`"
        )
    return "\n".join(lines) + "\n"
