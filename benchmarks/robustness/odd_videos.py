"""Videos of many containers and codecs: have they the frames, and the pixels, that FFmpeg's program gives?

    python benchmarks/robustness/odd_videos.py

It needs the program ``ffmpeg``, which makes the videos and is the reference; what it cannot encode is left out. A row
is right where the number of frames is equal, each frame differs by less than 6 of 255 on average, and frames read alone
are those read together.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from snn_action.video.decode import VideoFile, count_frames, open_video, read_frames

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

SOURCE = "-f lavfi -i testsrc2=s=96x64:r=25:d=1.2"
CIF = "-f lavfi -i testsrc2=s=176x144:r=25:d=1"
PAL = "-f lavfi -i testsrc2=s=720x576:r=25:d=0.4"
INTERLACED = "-flags +ilme+ildct"
VIDEOS = {
    "xvid.avi": f"{SOURCE} -c:v libxvid -bf 2",
    "mpeg4.avi": f"{SOURCE} -c:v mpeg4 -bf 2",
    "msmpeg4.divx": f"{SOURCE} -c:v msmpeg4 -f avi",
    "wmv2.asf": f"{SOURCE} -c:v wmv2",
    "flv1.flv": f"{SOURCE} -c:v flv",
    "h263.3gp": f"{CIF} -c:v h263",
    "mpeg4.3g2": f"{SOURCE} -c:v mpeg4",
    "h264.f4v": f"{SOURCE} -c:v libx264",
    "theora.ogv": f"{SOURCE} -c:v libtheora",
    "still.ogv": "-f lavfi -i color=red:s=96x64:r=25:d=1.2 -c:v libtheora",
    "vp8.ivf": f"{SOURCE} -c:v libvpx -auto-alt-ref 1 -lag-in-frames 16",
    "vp9.webm": f"{SOURCE} -c:v libvpx-vp9 -auto-alt-ref 6 -lag-in-frames 16",
    "av1.mp4": f"{SOURCE} -c:v libsvtav1 -preset 12",
    "pyramid.mkv": f"{SOURCE} -c:v libx264 -bf 8 -x264-params b-pyramid=normal:ref=6",
    "h264.h264": f"{SOURCE} -c:v libx264 -bf 3",
    "open.ts": f"{SOURCE} -c:v libx265 -x265-params log-level=none:open-gop=1:keyint=10",
    "interlaced.ts": f"{SOURCE} -c:v libx264 -x264opts tff=1 {INTERLACED} -bf 2",
    "interlaced.mpg": f"{SOURCE} -c:v mpeg2video {INTERLACED} -bf 2",
    "mpeg1.m1v": f"{SOURCE} -c:v mpeg1video -bf 2",
    "mpeg2.m2ts": f"{SOURCE} -c:v mpeg2video -bf 2 -f mpegts -mpegts_m2ts_mode 1",
    "mpeg2.mxf": f"{PAL} -c:v mpeg2video -bf 2",
    "mpeg2.wtv": f"{SOURCE} -c:v mpeg2video -bf 2",
    "dv.dv": f"{PAL} -c:v dvvideo -pix_fmt yuv420p",
    "prores.mov": f"{SOURCE} -c:v prores_ks {INTERLACED}",
    "mjpeg.avi": f"{SOURCE} -c:v mjpeg",
    "gif.gif": f"{SOURCE}",
    "ffv1.mkv": f"{SOURCE} -c:v ffv1 -g 10 -level 1",
    "raw.nut": f"{SOURCE} -c:v rawvideo",
    "rv20.rm": f"{CIF} -c:v rv20",
    "svq1.mov": f"{CIF} -c:v svq1",
    "still.mov": "-f lavfi -i color=red:s=96x64:r=25:d=1 -c:v qtrle",
    "snow.avi": f"{SOURCE} -c:v snow",
    "dropped.avi": f"{SOURCE} -vf select=not(between(n\\,5\\,8)) -fps_mode passthrough -c:v mpeg4",
    "negative.mp4": f"{SOURCE} -c:v libx264 -bf 2 -output_ts_offset -1",
    "wrap.ts": f"{SOURCE} -c:v libx264 -g 5 -bf 2 -output_ts_offset 95442.9",
    "edit.mp4": "-ss 0.3 -i h264.f4v -c copy",
    "cut.mkv": "-ss 0.6 -i open.ts -c copy",
    "no_key.mkv": "-i open.ts -c copy -bsf:v noise=drop=lt(n\\,5)",
    "no_key.avi": "-i mpeg4.avi -c copy -bsf:v noise=drop=lt(n\\,5)",
    "hole.avi": "-i mpeg4.avi -c copy -bsf:v noise=drop=eq(n\\,7)",
    "split.mkv": "-i vp9.webm -c copy -bsf:v vp9_superframe_split",
}


def show(path: Path) -> bytes:
    """All frames as FFmpeg's program gives them, RGB."""
    how = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", path, *how], capture_output=True).stdout


def compare(path: Path) -> tuple[int, int, float, bool, bool]:
    """Frames of ours and of FFmpeg, the largest mean difference, whether access by index agrees, whether counted."""
    source, number = open_video(path), count_frames(path)
    frames = read_frames(path, range(number))
    reference = np.frombuffer(show(path), np.uint8).reshape(-1, *frames.shape[1:])
    both = min(number, len(reference))
    difference = max(abs(a.astype(int) - b).mean() for a, b in zip(frames[:both], reference[:both], strict=True))
    some = sorted({0, number // 2, number - 1})
    alone = all(np.array_equal(read_frames(path, [index])[0], frames[index]) for index in some)
    return number, len(reference), difference, alone, isinstance(source, VideoFile) and source.timeline.counted


def main() -> None:
    from benchmarks.lib.table import make_table, write_section

    if shutil.which("ffmpeg") is None:
        raise SystemExit("there is no program ffmpeg")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in VIDEOS.items():
            words = arguments.split()
            made = subprocess.run(
                ["ffmpeg", "-nostdin", "-y", "-v", "error", *words, name], cwd=folder, capture_output=True
            )
            if made.returncode:
                print(f"{name}: left out, {made.stderr.decode().splitlines()[:1]}")
                continue
            ours, theirs, difference, alone, counted = compare(Path(folder, name))
            right = ours == theirs and difference < 6 and alone
            how = "decoding" if counted else "packets"
            rows.append([name, str(ours), str(theirs), f"{difference:.2f}", how, "yes" if right else "NO"])
    header = ("video", "frames", "frames of FFmpeg", "largest mean difference", "counted by", "right")
    write_section(
        "Odd videos",
        "One video for each of many containers and codecs, made by the program `ffmpeg`, and decoded by this "
        "software and by `ffmpeg`. *Largest mean difference*: the mean difference of the pixels of a frame, on the "
        "scale of 0 to 255, in the frame where it is largest. *Counted by*: whether this software counts the frames "
        "by the packets in the file or by decoding them. *Right*: the number of frames is the same, the difference "
        "is below 6, and frames that are read alone are equal to those that are read together.",
        make_table(header, rows),
    )


if __name__ == "__main__":
    main()
