"""Writes frames as an MPEG-4 AVI file, the same bytes for the same frames."""

import io
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import Flags

QUALITY = 4  # MPEG-4's quantizer: 1 best, 31 worst


def encode_avi(frames: npt.NDArray[np.uint8], rate: int) -> bytes:
    """An AVI file of ``frames`` (T, H, W, 3).

    Every frame is a key frame: none shows what came before it, so that a clip played backwards has the same
    frames to the last bit. One thread and FFmpeg's bit-exact mode make the bytes depend on nothing else.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=Fraction(rate))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.gop_size, context.thread_count = 1, 1
        context.qmin = context.qmax = QUALITY
        context.flags |= Flags.bitexact
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()
