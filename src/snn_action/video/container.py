"""Whether a video file is whole: what its container declares against what is there."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_action.core.errors import VideoError

LONGEST_STEP = 10.0  # seconds between two packets: FFmpeg, too, takes more for a jump of the clock
_EBML_HEADER, _EBML_SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")


@dataclass
class Reach:
    """How far a demuxer came.

    Attributes:
        unit: Seconds of a unit of time.
        may_jump: Whether the format's clock may jump, as that of a transport stream.
        packets: Number of packets, those that are not shown and those that are empty too.
        decoding: Last decoding time.
        first: First decoding time; None before there is one.
        jumped: Units of time by which the clock jumped.
        cut: Whether the last packet is shorter than it should be.
    """

    unit: float = 0.0
    may_jump: bool = False
    packets: int = 0
    decoding: int = 0
    first: int | None = None
    jumped: int = 0
    cut: bool = False

    def add(self, packet: Any) -> None:
        """Count one more packet."""
        self.packets += 1
        if packet.dts is not None:
            step = 0 if self.first is None else packet.dts - self.decoding
            if self.may_jump and not 0 <= step * self.unit <= LONGEST_STEP:
                self.jumped += step
            self.first = packet.dts if self.first is None else self.first
            self.decoding = packet.dts
        self.cut = packet.is_corrupt

    @property
    def seconds(self) -> float:
        """From the first decoding time to the last, without jumps of the clock."""
        return 0.0 if self.first is None else abs(self.decoding - self.first - self.jumped) * self.unit


def check_whole(path: Path, container: Any, stream: Any, reach: Reach) -> None:
    """Nothing, where the file holds the frames that its container declares.

    Raises:
        VideoError: names the number of whole frames and the number declared.
    """
    lost = reach.cut + _count_absent(path, container, stream, reach)
    if lost:
        whole = reach.packets - reach.cut
        raise VideoError(f"{path}: truncated: {whole} of {whole + lost} frames are there", "truncated")


def _count_absent(path: Path, container: Any, stream: Any, reach: Reach) -> int:
    """Frames that the container declares and that were cut off its end; 0 where nothing says that it was cut."""
    names, declared, rate = container.format.name.split(","), int(stream.frames), stream.average_rate
    if "avi" in names:
        # a whole file may declare frames that were dropped in recording: they take time but have no packet
        counts_frames = rate is not None and stream.time_base * rate == 1
        reached = reach.decoding + 1 if counts_frames else reach.packets
        return max(0, declared - reached) if _is_riff_cut(path) else 0
    if "mov" in names:
        # an edit list may leave frames out: they are in the header's number, but neither in the index nor packets
        return max(0, len(stream.index_entries) - reach.packets) if reach.packets < declared else 0
    if "matroska" in names:
        if not _is_segment_cut(path):
            return 0
        seconds = _parse_duration(stream.metadata.get("DURATION", "")) or (container.duration or 0) / 1e6
        return max(1, round(seconds * (rate or 0)) - reach.packets)
    return 0


def _is_segment_cut(path: Path) -> bool:
    """Whether the Matroska segment is longer than the file."""
    with path.open("rb") as file:
        for name in (_EBML_HEADER, _EBML_SEGMENT):
            if file.read(4) != name:
                return False
            first = int.from_bytes(file.read(1))
            width = 8 - first.bit_length()  # further bytes: as many as zeros before the first one
            length = int.from_bytes(bytes([first & (0x7F >> width)]) + file.read(width), "big")
            if length == (1 << 7 * (width + 1)) - 1:  # unknown: written as a stream
                return False
            file.seek(length, 1)
        return file.tell() > path.stat().st_size


def _is_riff_cut(path: Path) -> bool:
    """Whether a RIFF chunk at the top level is longer than the file."""
    size, offset = path.stat().st_size, 0
    with path.open("rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            head = file.read(8)
            if head[:4] != b"RIFF":
                return False
            length = int.from_bytes(head[4:], "little")
            offset += 8 + length
            if offset > size:
                return True
            offset += length & 1
    return False


def _parse_duration(text: str) -> float:
    match = re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else 0.0
