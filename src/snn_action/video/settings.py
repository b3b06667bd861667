"""What may be set about clips, and what one video may ask for."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from snn_action.core.settings import Settings

Stream = Literal["rgb", "difference"]
Sampling = Literal["first", "uniform", "random", "segments", "sliding"]


class ClipSettings(Settings):
    """How clips are cut from a video."""

    frames: int = Field(28, ge=1, le=10**6, description="Frames in a clip (time steps of the temporal model)")
    sampling: Sampling = Field("first", description="Which frames: see docs/reference/configuration.md")
    stride: int = Field(1, ge=1, le=10**6, description="Distance of a clip's frames, for 'first' and 'sliding'")
    hop: int | None = Field(None, ge=1, le=10**6, description="Distance of clips, for 'sliding'; null: no overlap")
    clips: int = Field(3, ge=1, le=1000, description="Clips of a video, for 'segments'")
    streams: tuple[Stream, ...] = Field(("rgb",), min_length=1, description="What the backbone sees")
    difference_span: int = Field(2, ge=1, le=10**6, description="'difference' is frame t + span minus frame t - span")
    size: int | None = Field(None, ge=16, le=2048, description="Side of the image; null: the backbone's own")

    @field_validator("streams")
    @classmethod
    def _distinct(cls, value: tuple[Stream, ...]) -> tuple[Stream, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a stream is named twice")
        return value


class FrameAugmentSettings(Settings):
    """Versions of training videos with changed frames; their features are kept in the feature store."""

    versions: int = Field(0, ge=0, le=1000, description="Versions of each training video beside the plain one; 0: none")
    crop: float = Field(0.2, ge=0, le=0.9, description="Largest share of width and of height that is cut away")
    flip: bool = Field(False, description="Half of the versions have left and right exchanged")
    left_right: tuple[str, ...] = Field(
        (), strict=False, description="Actions where left and right matter: they are never flipped"
    )
    color: float = Field(0.2, ge=0, lt=1, description="Largest change of brightness, contrast and saturation; 0: none")
    blur: float = Field(0.0, ge=0, le=0.1, description="Largest deviation of the blur, in shorter sides; 0: none")

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.versions and not (self.crop or self.flip or self.color or self.blur):
            raise ValueError("versions: all would be the plain one; set crop, flip, color or blur")
        if not self.versions and (self.flip or self.blur):
            raise ValueError("versions: 0, so no frame is changed; set how many versions each training video has")
        return self


class LimitSettings(Settings):
    """What one video may ask for; one that asks for more counts as unreadable."""

    pixels: int = Field(7680 * 4320, ge=1, le=2**31, description="Most pixels of a frame")
    seconds: float = Field(3600.0, gt=0, description="Longest video; a frame counts for a thousandth of one at least")
    timeout: float = Field(300.0, gt=0, description="Seconds until a worker process gives a video up")
