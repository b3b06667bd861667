"""What may be set about clips, and what one video may ask for."""

from typing import Literal

from pydantic import Field, field_validator

from snn_action.core.settings import Settings

Stream = Literal["rgb", "difference"]
Sampling = Literal["first", "uniform", "random", "sliding"]


class ClipSettings(Settings):
    """How clips are cut from a video."""

    frames: int = Field(28, ge=1, le=10**6, description="Frames in a clip (time steps of the temporal model)")
    sampling: Sampling = Field("first", description="Which frames: see docs/reference/configuration.md")
    stride: int = Field(1, ge=1, le=10**6, description="Distance of a clip's frames, for 'first' and 'sliding'")
    hop: int | None = Field(None, ge=1, le=10**6, description="Distance of clips, for 'sliding'; null: no overlap")
    streams: tuple[Stream, ...] = Field(("rgb",), min_length=1, description="What the backbone sees")
    difference_span: int = Field(2, ge=1, le=10**6, description="'difference' is frame t + span minus frame t - span")
    size: int | None = Field(None, ge=16, le=2048, description="Side of the image; null: the backbone's own")

    @field_validator("streams")
    @classmethod
    def _distinct(cls, value: tuple[Stream, ...]) -> tuple[Stream, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a stream is named twice")
        return value


class LimitSettings(Settings):
    """What one video may ask for; one that asks for more counts as unreadable."""

    pixels: int = Field(7680 * 4320, ge=1, le=2**31, description="Most pixels of a frame")
    seconds: float = Field(3600.0, gt=0, description="Longest video; a frame counts for a thousandth of one at least")
    timeout: float = Field(300.0, gt=0, description="Seconds until a worker process gives a video up")
