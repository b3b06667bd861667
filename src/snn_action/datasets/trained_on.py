"""What weights learned from: it travels in their checkpoint, so that whoever starts from them can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Member:
    """A video as the run knows it.

    Attributes:
        name: Its name in the catalog.
        label: Name of its class; None in a run that did not write it down.
        group: Its group; None: unknown.
        digest: Of its content, or of its features where these came with the dataset; None as for ``label``.
    """

    name: str
    label: str | None = None
    group: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class TrainedOn:
    """Videos that weights were trained and validated on, those of the weights that they began from included.

    ``complete`` is false where they began from weights that do not say what they had learned from.
    """

    videos: tuple[Member, ...]
    complete: bool = True

    def and_further(self, videos: Sequence[Member]) -> "TrainedOn":
        """The same and further videos, each once."""
        return TrainedOn(tuple(dict.fromkeys((*self.videos, *videos))), self.complete)

    def to_content(self) -> dict[str, Any]:
        """Plain values, for a checkpoint or JSON."""
        rows = [[video.name, video.label, video.group, video.digest] for video in self.videos]
        return {"complete": self.complete, "videos": rows}


UNKNOWN = TrainedOn((), complete=False)


def parse_trained_on(content: Any) -> TrainedOn:
    """What ``to_content`` gave; ``UNKNOWN`` where there is nothing, as in weights of earlier versions or of others.

    Raises:
        ValueError: it is something else.
    """
    if content is None:
        return UNKNOWN
    if not isinstance(content, Mapping) or not isinstance(content.get("complete"), bool):
        raise ValueError("'trained_on' is not what a run writes")
    rows = content.get("videos")
    plain = isinstance(rows, list) and all(
        isinstance(row, list)
        and len(row) == 4
        and isinstance(row[0], str)
        and all(value is None or isinstance(value, str) for value in row)
        for row in rows
    )
    if not isinstance(rows, list) or not plain:
        raise ValueError("'trained_on' is not what a run writes")
    return TrainedOn(tuple(Member(*row) for row in rows), content["complete"])
