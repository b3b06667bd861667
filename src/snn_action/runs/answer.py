"""What a recognizer says of one video."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_action.core.errors import printable


@dataclass(frozen=True)
class Verdict:
    """What calibration makes of a video's prediction.

    Attributes:
        probabilities: After the temperature (K,).
        score: How strange the video is; see ``evaluation.rejection``.
        threshold: From where on it is unknown.
        is_unknown: The score is higher, or the most probable class is ``evaluation.background``.
    """

    probabilities: npt.NDArray[np.float64]
    score: float
    threshold: float
    is_unknown: bool


@dataclass(frozen=True)
class Prediction:
    """What a recognizer says of one video.

    Attributes:
        video: The path as it was given; ``"frames"`` where frames were.
        class_names: Names of the K classes.
        probabilities: Softmax averaged over the steps of each clip, then over clips (K,), as ``video`` accuracy does.
        over_time: For each clip, the softmax at each step (T, K).
        frames: For each clip, the frames at these steps (T,).
        verdict: What the run's calibration makes of it; None where the run has none.
        all_steps: Of all clips together, where they may end early; None where they may not.
    """

    video: str
    class_names: tuple[str, ...]
    probabilities: npt.NDArray[np.float64]
    over_time: tuple[npt.NDArray[np.float32], ...]
    frames: tuple[npt.NDArray[np.int64], ...]
    verdict: Verdict | None = None
    all_steps: int | None = None

    @property
    def looked_at(self) -> int:
        """Steps that were looked at."""
        return sum(map(len, self.frames))

    @property
    def confidence(self) -> float | None:
        """Calibrated probability of the most probable class; None where the run has no calibration."""
        return None if self.verdict is None else float(self.verdict.probabilities.max())

    @property
    def is_unknown(self) -> bool | None:
        """Whether this is none of the known actions; None where the run has no calibration."""
        return None if self.verdict is None else self.verdict.is_unknown

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, calibrated where the run is."""
        return self._top(self.probabilities if self.verdict is None else self.verdict.probabilities, count)

    def to_dict(self, count: int = 5, over_time: bool = False) -> dict[str, Any]:
        """For JSON: the video, its top classes and, if asked, those at each step of each clip."""
        result: dict[str, Any] = {"video": self.video, "top": _named(self.top(count))}
        if self.verdict is not None:
            result |= {
                "unknown": self.verdict.is_unknown,
                "confidence": self.confidence,
                "score": self.verdict.score,
                "threshold": self.verdict.threshold,
            }
        if self.all_steps is not None:
            result |= {"steps": self.looked_at, "of": self.all_steps}
        if over_time:
            result["over_time"] = [
                [
                    {"frame": int(frame), "top": _named(self._top(step, count))}
                    for frame, step in zip(frames, steps, strict=True)
                ]
                for frames, steps in zip(self.frames, self.over_time, strict=True)
            ]
        return result

    def to_text(self, count: int = 5, over_time: bool = False) -> str:
        """For people: a line for each of the top classes and, if asked, for each step."""
        looked = "" if self.all_steps is None else f" ({self.looked_at} of {self.all_steps} steps looked at)"
        strange = ": unknown, nothing like what was learned; nearest:" if self.is_unknown else ""
        lines = [f"{self.video}{looked}{strange}"]
        lines += [f"  {100 * probability:5.1f} %  {name}" for name, probability in self.top(count)]
        if over_time:
            for clip, (frames, steps) in enumerate(zip(self.frames, self.over_time, strict=True), 1):
                lines.append("  over time" + (f", clip {clip} of {len(self.frames)}" if len(self.frames) > 1 else ""))
                for frame, step in zip(frames, steps, strict=True):
                    best = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self._top(step, min(count, 2)))
                    lines.append(f"    frame {int(frame):5d}  {best}")
        return "\n".join(map(printable, lines))

    def _top(self, shares: npt.NDArray[Any], count: int) -> list[tuple[str, float]]:
        order = np.argsort(-shares, kind="stable")[:count]
        return [(self.class_names[k], float(shares[k])) for k in order]


def _named(top: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"class": name, "probability": probability} for name, probability in top]
