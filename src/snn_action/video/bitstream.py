"""How many frames a packet gives, told from its bytes, where that is sure without decoding it.

A packet need not give a frame: in MPEG-4 there are packets without a picture (a VOP that is "not coded", or one byte),
in VP8, VP9 and AV1 hidden reference frames, elsewhere one of two fields of an interlaced picture, or a picture that
leans on what was cut off. Here stands which packets surely give one frame, or none. Of all others, and of codecs that
are not here, only the decoder knows.

Sources: ISO/IEC 14496-2 6.2.5 (MPEG-4), 13818-2 6.2.3 (MPEG-2), ITU-T H.264 7.3, H.265 7.3, RFC 6386 9.1 (VP8), the VP9
bitstream specification 6.2 and annex B, the AV1 bitstream specification 5.3 and 5.9.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise

Count = Callable[[bytes], int | None]

_TINY = 32  # bytes: an MPEG-4 frame that is less may have no picture
_START = re.compile(b"\x00\x00\x01")


def frame_counter(codec: str, intra_only: bool, extradata: bytes | None) -> Count:
    """What tells the number of frames that a packet gives, 0 or 1; None: only the decoder knows.

    It is asked for each packet of a stream, in order.

    Args:
        codec: FFmpeg's name of the codec.
        intra_only: Whether each of its frames stands alone.
        extradata: Headers of the stream, from its container.
    """
    try:
        counter = _choose(codec, intra_only, extradata or b"")
    except IndexError:  # headers that end too early
        return _unknown

    def count(data: bytes) -> int | None:
        try:
            return counter(data)
        except IndexError:
            return None

    return count


def _choose(codec: str, intra_only: bool, extradata: bytes) -> Count:
    if codec in ("h264", "hevc"):
        return _Nal(codec, extradata)
    if codec in ("mpeg4", "mpeg1video", "mpeg2video"):
        return _Mpeg(codec)
    name = {"libvpx": "vp8", "libvpx-vp9": "vp9", "libdav1d": "av1", "libaom-av1": "av1"}.get(codec, codec)
    simple: dict[str, Count] = {"vp8": _vp8, "vp9": _vp9, "av1": _av1, "ffv1": _whole}
    return simple.get(name, _whole if intra_only else _unknown)


def _unknown(data: bytes) -> int | None:  # noqa: ARG001
    return None


def _whole(data: bytes) -> int | None:
    return 1 if data else None


class _Mpeg:
    """MPEG-1, -2 and -4: one picture a packet, which is there and no field, and whose references are there."""

    def __init__(self, codec: str) -> None:
        self._read = _type_of_vop if codec == "mpeg4" else _type_of_picture
        self._references = 0

    def __call__(self, data: bytes) -> int | None:
        kind = self._read(data)
        if kind is None or (kind == _B and self._references < 2):
            return None
        self._references += kind != _B
        return 1


_B = 3  # among picture types from 1: I, P, B, others


def _type_of_vop(data: bytes) -> int | None:
    place = data.find(b"\x00\x00\x01\xb6") + 4
    if place < 4 or not len(data) >= _TINY or data.find(b"\x00\x00\x01\xb6", place) >= 0:
        return None
    return (data[place] >> 6) + 1 if place < len(data) else None


def _type_of_picture(data: bytes) -> int | None:
    """The type of the only picture, where its ``picture_structure`` is 3, a frame, or absent, in MPEG-1."""
    kinds = []
    for match in _START.finditer(data):
        body = data[match.end() : match.end() + 4]
        if body[:1] == b"\x00" and len(body) == 4:
            kinds.append(body[2] >> 3 & 7)
        if len(body) == 4 and body[0] == 0xB5 and body[1] >> 4 == 8 and body[3] & 3 != 3:
            return None
    return kinds[0] if len(kinds) == 1 else None


def _vp8(data: bytes) -> int | None:
    return data[0] >> 4 & 1 if data else None


def _vp9(data: bytes) -> int | None:
    shown = 0
    for frame in _split_vp9(data):
        bits = _Bits(frame[:2])
        if bits.take(2) != 2:
            return None
        profile = bits.take(1) | bits.take(1) << 1
        if profile == 3:
            bits.take(1)
        existing, _, show = bits.take(1), bits.take(1), bits.take(1)
        shown += existing | show
    return shown if shown <= 1 else None


def _split_vp9(data: bytes) -> Iterator[bytes]:
    """The frames of a packet: one, or those of a superframe, whose index ends it."""
    last = data[-1] if data else 0
    count, width = (last & 7) + 1, (last >> 3 & 3) + 1
    index = data[-(2 + count * width) :]
    if last & 0xE0 != 0xC0 or len(index) < 2 + count * width or index[0] != last:
        yield data
        return
    place = 0
    for k in range(count):
        size = int.from_bytes(index[1 + k * width : 1 + (k + 1) * width], "little")
        if size:
            yield data[place : place + size]
        place += size


class _Nal:
    """H.264 and H.265: one picture of one layer a packet, all of whose references are there, and no fields."""

    def __init__(self, codec: str, extradata: bytes) -> None:
        self._hevc = codec == "hevc"
        self._begun, self._sure, self._width = False, True, 0
        if extradata[:1] == b"\x01":  # avcC or hvcC: units come with their lengths, not with start codes
            place = 21 if self._hevc else 4
            self._width = (extradata[place] & 3) + 1 if len(extradata) > place else 4
            self._sure = all(map(self._look, _parameter_sets(extradata, self._hevc)))
        else:
            self._sure = all(map(self._look, _split_start_codes(extradata)))

    def __call__(self, data: bytes) -> int | None:
        units = list(_split_lengths(data, self._width) if self._width else _split_start_codes(data))
        self._sure &= all(map(self._look, units))
        pictures = [unit for unit in units if self._begins_picture(unit)]
        if len(pictures) != 1 or not self._sure:
            return None
        if not self._begun and not self._is_instant(pictures[0]):
            self._sure = False
            return None
        self._begun = True
        return 1

    def _look(self, unit: bytes) -> bool:
        """Whether a unit leaves it sure that each picture is shown."""
        if not self._hevc:
            return unit[:1] == b"" or unit[0] & 31 != 7 or _is_progressive(unit)
        if len(unit) < 3:
            return True
        kind = unit[0] >> 1 & 63
        if kind == 34:  # PPS
            bits = _Bits(_unescape(unit[2:12]))
            bits.exp_golomb(), bits.exp_golomb(), bits.take(1)
            return not bits.take(1)  # output_flag_present_flag
        # after a broken link or the end of a sequence, pictures are left out
        return not (16 <= kind <= 18 or kind in (36, 37))

    def _begins_picture(self, unit: bytes) -> bool:
        if self._hevc:
            layer = (unit[0] & 1) << 5 | unit[1] >> 3 if len(unit) > 2 else 0
            return len(unit) > 2 and unit[0] >> 1 & 63 < 32 and not layer and bool(unit[2] & 0x80)
        return len(unit) > 1 and unit[0] & 31 in (1, 2, 5) and bool(unit[1] & 0x80)  # first_mb_in_slice is 0

    def _is_instant(self, unit: bytes) -> bool:
        """Whether no picture after this one leans on one before it."""
        return unit[0] >> 1 & 63 in (19, 20) if self._hevc else unit[0] & 31 == 5


def _is_progressive(unit: bytes) -> bool:
    """Whether an H.264 sequence parameter set tells of whole frames only, ``frame_mbs_only_flag``."""
    bits = _Bits(_unescape(unit[1:]))
    try:
        profile = bits.take(24) >> 16
        bits.exp_golomb()
        if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
            if (chroma := bits.exp_golomb()) == 3:
                bits.take(1)
            bits.exp_golomb(), bits.exp_golomb(), bits.take(1)
            if bits.take(1) and any(bits.take(1) for _ in range(8 if chroma != 3 else 12)):
                return False  # scaling lists: seldom, and not worth their reading
        bits.exp_golomb()
        if (order := bits.exp_golomb()) == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.take(1), bits.exp_golomb(), bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb(), bits.take(1), bits.exp_golomb(), bits.exp_golomb()
        return bool(bits.take(1))
    except IndexError:
        return False


def _split_start_codes(data: bytes) -> Iterator[bytes]:
    places = [match.end() for match in _START.finditer(data)]
    for start, end in pairwise([*places, len(data) + 3]):
        yield data[start : end - 3]


def _split_lengths(data: bytes, width: int) -> Iterator[bytes]:
    place = 0
    while place + width <= len(data):
        size = int.from_bytes(data[place : place + width], "big")
        yield data[place + width : place + width + size]
        place += width + size


def _parameter_sets(extradata: bytes, hevc: bool) -> Iterator[bytes]:
    """The units in an avcC (sequence sets only) or hvcC record."""
    place = 22 if hevc else 5
    groups = (extradata[place] if hevc else 1) if len(extradata) > place else 0
    place += hevc
    for _ in range(groups):
        place += hevc
        head = extradata[place : place + 2] if hevc else extradata[place : place + 1]
        number = int.from_bytes(head, "big") & (0xFFFF if hevc else 31)
        place += len(head)
        for _ in range(number):
            size = int.from_bytes(extradata[place : place + 2], "big")
            yield extradata[place + 2 : place + 2 + size]
            place += 2 + size


def _av1(data: bytes) -> int | None:
    """Frame headers that show a frame, new or known."""
    shown = place = 0
    while place < len(data):
        head = data[place]
        place += 1
        kind, extended, sized = head >> 3 & 15, head >> 2 & 1, head >> 1 & 1
        if extended:
            if place < len(data) and data[place] >> 3 & 3:  # a spatial layer
                return None
            place += 1
        size, shift = len(data) - place if not sized else 0, 0
        while sized and place < len(data):
            byte = data[place]
            place += 1
            size |= (byte & 127) << shift
            shift += 7
            sized = byte >> 7
        first = data[place] if place < len(data) and size else 0
        if kind == 1 and first >> 3 & 1:  # reduced_still_picture_header: frame headers are others
            return None
        if kind in (3, 6):
            shown += first >> 7 | first >> 4 & 1  # show_existing_frame, or show_frame
        place += size
    return shown if shown <= 1 else None


def _unescape(data: bytes) -> bytes:
    return data.replace(b"\x00\x00\x03", b"\x00\x00")


class _Bits:
    """Bits from the highest to the lowest.

    Raises:
        IndexError: there are no more.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def take(self, number: int) -> int:
        value = 0
        for _ in range(number):
            value = value << 1 | self._data[self._place >> 3] >> (7 - (self._place & 7)) & 1
            self._place += 1
        return value

    def exp_golomb(self) -> int:
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
