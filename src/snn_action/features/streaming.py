"""Features of a stream of frames, as they come: every n-th frame through the backbone, a few at a time.

A difference image at frame ``t`` needs frame ``t + span``, so its features come ``span`` frames late. Where frames were
thrown away, and at both ends, the nearest frame that there is stands for one that is missing, as in a clip.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.features.extraction.embed import embed_next
from snn_action.video.decode import Frame
from snn_action.video.live import LiveFrame
from snn_action.video.settings import Stream
from snn_action.video.transforms import difference_image, resize

IMAGES = 8  # through the backbone at once: more are hardly faster, and take more memory


@dataclass(frozen=True)
class Embedded:
    """Features (n, D) of n frames, all streams side by side."""

    frames: list[LiveFrame]
    features: Tensor


@dataclass
class Views:
    """What the backbone's streams show of every ``every``-th frame."""

    streams: tuple[Stream, ...]
    span: int
    every: int
    _recent: deque[LiveFrame] = field(default_factory=deque)
    _due: deque[LiveFrame] = field(default_factory=deque)

    def wants(self, index: int) -> bool:
        """Whether a frame's image is needed."""
        around = (index, index - self.span, index + self.span) if "difference" in self.streams else (index,)
        return any(place % self.every == 0 for place in around)

    def add(self, frame: LiveFrame) -> Iterator[tuple[LiveFrame, dict[Stream, Frame]]]:
        """What can be shown now that this frame has come."""
        if self._recent and frame.index > self._recent[-1].index + 1:
            yield from self.flush()
        self._recent.append(frame)
        if frame.index % self.every == 0:
            self._due.append(frame)
        ahead = self.span if "difference" in self.streams else 0
        while self._due and self._due[0].index + ahead <= frame.index:
            yield self._show(self._due.popleft())
        first = self._due[0].index if self._due else frame.index + 1
        while self._recent and self._recent[0].index < first - ahead:
            self._recent.popleft()

    def flush(self) -> Iterator[tuple[LiveFrame, dict[Stream, Frame]]]:
        """What is still to be shown when no frame follows."""
        while self._due:
            yield self._show(self._due.popleft())
        self._recent.clear()

    def _show(self, frame: LiveFrame) -> tuple[LiveFrame, dict[Stream, Frame]]:
        assert frame.image is not None
        shown: dict[Stream, Frame] = {}
        for stream in self.streams:
            if stream == "rgb":
                shown[stream] = frame.image
            else:
                shown[stream] = difference_image(
                    self._find(frame.index + self.span), self._find(frame.index - self.span)
                )
        return frame, shown

    def _find(self, index: int) -> Frame:
        """The image of that frame, or of the nearest one that has one."""
        held = [frame for frame in self._recent if frame.image is not None]
        nearest = min(held, key=lambda frame: abs(frame.index - index))
        assert nearest.image is not None
        return nearest.image


def embed_stream(
    frames: Iterable[LiveFrame | None],
    views: Views,
    config: Config,
    backbone: Backbone,
    device: torch.device,
    batch: int,
) -> Iterator[Embedded]:
    """Features of every n-th frame, up to ``batch`` frames at once; None among the frames: do not wait for more.

    A backbone that sees windows of images gets the last ones that were taken from the stream. A coded one goes on from
    what it last sent.

    Raises:
        WorkError: a feature is not finite.
    """
    size = config.clip.size or backbone.input_size
    held: list[tuple[LiveFrame, dict[Stream, Frame]]] = []
    past: dict[Stream, Tensor] = {}
    states: dict[Stream, Any] = {}

    def run() -> Embedded:
        some, held[:] = held[:batch], held[batch:]
        streams = []
        for stream in views.streams:
            images = resize(np.stack([shown[stream] for _, shown in some]), size)
            if backbone.window > 1:
                before = past.get(stream, images[:1].expand(backbone.window - 1, -1, -1, -1))
                images = torch.cat([before, images])
                past[stream] = images[len(images) - backbone.window + 1 :]
                images = images.unfold(0, backbone.window, 1).movedim(-1, 1)
            streams.append(images)
        together, precision = min(config.backbone.batch_size, IMAGES), config.backbone.precision
        if backbone.coded is None:
            features, _ = embed_next(backbone, torch.cat(streams), None, together, precision, device)
            found = list(features.chunk(len(streams)))
        else:
            found = []
            for stream, images in zip(views.streams, streams, strict=True):
                features, states[stream] = embed_next(backbone, images, states.get(stream), together, precision, device)
                found.append(features)
        return Embedded([frame for frame, _ in some], torch.cat(found, 1))

    for frame in frames:
        if frame is not None:
            held += views.add(frame)
        while len(held) >= batch or (frame is None and held):
            yield run()
    held += views.flush()
    while held:
        yield run()
