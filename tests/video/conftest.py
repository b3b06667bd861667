"""Small videos, made where a test needs them."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 48, 64


def paint(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A frame that tells its index: brightness, and a bar that moves."""
    image = np.full((height, width, 3), (4 * index) % 240, np.uint8)
    image[10:20, index % (width - 8) : index % (width - 8) + 8] = 255, 128, 0
    return image


def write_video(
    path: Path, n=30, codec="mpeg4", *, gop=10, b_frames=0, options=None, container=None, skip=(), pix_fmt=None,
    images=None, rotation=0,
):  # fmt: skip
    """Encode ``n`` painted frames (or ``images``); frames in ``skip`` take time but are left out."""
    images = [paint(i) for i in range(n)] if images is None else images
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt or "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        if codec == "mpeg4":
            stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for index, image in enumerate(images):
            if index not in skip:
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts = index
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def copy_packets(source: Path, path: Path, *, from_key=0, shift=0):
    """Copy packets without decoding, from the numbered key frame on, ``shift`` time units earlier."""
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        stream = given.streams.video[0]
        copied = output.add_stream_from_template(stream)
        keys = -1
        for packet in given.demux(stream):
            keys += packet.is_keyframe
            if packet.dts is not None and keys >= from_key:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                output.mux(packet)
    return path


def write_frames(folder: Path, n=5, first=1, size=(WIDTH, HEIGHT)):
    folder.mkdir(parents=True)
    for index in range(n):
        Image.fromarray(paint(index, size[1], size[0])).save(folder / f"frame{first + index:06}.jpg", quality=95)
    return folder


def cut(source: Path, path: Path, share: float):
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def touch(root: Path, *names: str):
    """A tree of files that look like videos to a reader of lists."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


class Videos:
    paint = staticmethod(paint)
    write = staticmethod(write_video)
    copy_packets = staticmethod(copy_packets)
    write_frames = staticmethod(write_frames)
    cut = staticmethod(cut)
    touch = staticmethod(touch)


@pytest.fixture(scope="session")
def videos() -> type[Videos]:
    return Videos
