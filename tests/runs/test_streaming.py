"""A trained run on streams: in Python and by the command, to the end, to an error and to Ctrl-C."""

import itertools
import json
import os
import shutil
import signal
import threading

import av
import numpy as np
import pytest

from snn_action.config import load_config
from snn_action.core.errors import VideoError
from snn_action.evaluation.segments import Segment, find_segments, match_segments
from snn_action.evaluation.staggered import StaggeredRows
from snn_action.features import extract_video
from snn_action.runs import pipeline
from snn_action.runs.prediction import load_run
from snn_action.runs.streaming import ROWS, Moment, StreamSettings, choose_batch
from snn_action.runs.timing import StepTiming, measure_timing, read_timing
from snn_action.video import feeds, live
from snn_action.video.decode import read_frames
from snn_action.video.feeds import LiveSettings
from tests.conftest import encode_video


@pytest.fixture
def trained(train_once, tmp_path):
    training = {"epochs": 30, "batch_size": 16, "learning_rate": 0.02}
    return shutil.copytree(train_once(training=training), tmp_path / "trained")


@pytest.fixture
def long(tmp_path):
    """Nine clips of 8 frames, in turns to the left and to the right."""
    frames = []
    for number in range(9):
        path = encode_video(tmp_path / "part.avi", 1 if number % 2 else -1, 1)
        frames.append(read_frames(path, range(8)))  # as many as the run's clips have
    with av.open(str(tmp_path / "long.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=12)
        stream.height = stream.width = 48
        for image in np.concatenate(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return tmp_path / "long.mp4"


def split(results):
    results = list(results)
    return [one for one in results if isinstance(one, Moment)], [one for one in results if isinstance(one, Segment)]


def test_segments_of_a_long_video(trained, long):
    stream = load_run(trained).stream(long, StreamSettings(cost=1.0))
    moments, segments = split(stream)
    assert [moment.frame for moment in moments] == list(range(72))
    assert moments[-1].time == pytest.approx(71 / 12, abs=1e-3)
    assert all(moment.evidence.sum() == pytest.approx(1) and moment.latency >= 0 for moment in moments)
    truth = [Segment(("Left", "Right")[number % 2], number * 8 / 12, (number + 1) * 8 / 12, 1.0) for number in range(9)]
    assert match_segments(segments, truth).f1 > 0.85
    assert segments[0].start == 0
    assert all(a.end == b.start for a, b in itertools.pairwise(segments))
    summary = stream.summary
    assert (summary.frames, summary.steps, summary.dropped, summary.segments) == (72, 72, 0, len(segments))
    assert summary.frames_per_second > 0
    assert summary.latency(0.95) >= summary.latency() > 0


def test_it_is_what_the_parts_say(trained, long):
    """Features of a clip of all frames, rows and segments, put together by hand."""
    run = load_run(trained)
    config = run.config.model_copy(update={"clip": run.config.clip.model_copy(update={"frames": 1000})})
    features, _, clips = extract_video(long, "long", config, run.backbone, run.device)
    evidence = StaggeredRows(run.model, run.config.clip.frames, ROWS).advance(features[0]).mean
    _, segments = split(run.stream(long, StreamSettings(cost=2.0)))
    wanted = find_segments(run.class_names, clips.indices / 12, evidence, 2.0)
    assert [(one.name, round(one.start, 2), round(one.end, 2)) for one in segments] == [
        (one.name, round(one.start, 2), round(one.end, 2)) for one in wanted
    ]
    assert [one.confidence for one in segments] == pytest.approx([one.confidence for one in wanted], abs=1e-3)


def test_frames_in_memory_and_every(trained, long):
    run = load_run(trained)
    images = read_frames(long, range(72))
    settings = StreamSettings(every=3, live=LiveSettings(fps=12))
    moments, _ = split(run.stream(iter(images), settings))
    from_file, _ = split(run.stream(long, settings))
    assert [moment.frame for moment in moments] == [*range(0, 72, 3)]
    np.testing.assert_allclose([m.evidence for m in moments], [m.evidence for m in from_file], atol=1e-3)


def test_a_run_says_how_far_apart_its_steps_were(video_config):
    config = load_config(video_config(clip={"frames": 4, "sampling": "uniform"}))
    folder = pipeline.train(config, run_id="timed")
    timing = read_timing(folder, config)
    assert timing.frames == pytest.approx(3)
    assert timing.seconds == pytest.approx(3 / 12)
    assert timing.choose_every(24.0) == 6
    assert timing.choose_every(None) == 3
    assert timing.choose_every(1.0) == 1
    (folder / "timing.json").write_text('{"frames": NaN, "seconds": 1}')
    assert read_timing(folder, config) is None
    (folder / "timing.json").unlink()
    assert read_timing(folder, load_config(video_config(clip={"frames": 4, "stride": 2}))) == StepTiming(2.0)
    catalog = config.dataset.build(0)
    for video in catalog.videos:
        video.path.write_bytes(b"")
    assert measure_timing(catalog, config) is None


def test_without_a_record_it_says_that_every_frame_is_taken(trained, long, caplog):
    run = load_run(trained)
    run.timing = None
    stream = run.stream(long)
    split(stream)
    assert stream.every == 1
    assert "--every N takes every N-th" in caplog.text


def test_batches_end_where_rows_begin_anew():
    assert [choose_batch(frames) for frames in (28, 32, 8, 1, 100, 1000)] == [14, 16, 4, 1, 13, 16]


def test_an_error_comes_after_what_was_seen(trained, long, monkeypatch):
    decode = feeds.decode_packets

    def break_off(*words):
        for number, found in enumerate(decode(*words)):
            if number == 40:
                raise av.error.InvalidDataError(1, "Invalid data")
            yield found

    monkeypatch.setattr(feeds, "decode_packets", break_off)
    stream = load_run(trained).stream(long)
    kept = []
    with pytest.raises(VideoError, match=r"cannot be decoded further after \d+ frames: Invalid data"):
        kept.extend(stream)
    moments, segments = split(kept)
    assert stream.summary.steps == len(moments) >= 38
    assert segments[-1].end == pytest.approx(len(moments) / 12, abs=1e-3)


def test_the_command_prints_segments_and_writes_files(command, trained, long, tmp_path):
    vtt, video = tmp_path / "out.vtt", tmp_path / "out.mp4"
    code, out, err = command("predict", trained, long, "--segments", vtt, "--overlay", video)
    assert code == 0, err
    segments = split(load_run(trained).stream(long))[1]
    assert [line.split()[-1] for line in out.splitlines()[2:-1]] == [one.name for one in segments]
    assert "frames/s, latency" in out
    assert vtt.read_text().count("-->") == len(segments)
    with av.open(str(video)) as shown:
        assert sum(1 for _ in shown.decode(video=0)) == 72
        assert shown.streams.video[0].average_rate == 12
    code, _, err = command("predict", trained, long, "--segments", vtt)
    assert (code, "is there already; --force" in err) == (2, True)
    assert command("predict", trained, long, "--segments", vtt, "--force")[0] == 0
    code, _, err = command("predict", trained, long, "--overlay", tmp_path / "gone" / "a.mp4")
    assert (code, "there is no folder" in err) == (2, True)
    code, _, err = command("predict", trained, long, "--overlay", long, "--force")
    assert (code, "is the video itself" in err) == (2, True)


def test_json_lines(command, trained, long, tmp_path):
    code, out, _ = command("predict", trained, long, tmp_path / "gone.mp4", "--stream", "--json", "--top", "1")
    assert code == 1
    lines = [json.loads(line) for line in out.splitlines()]
    kinds = [line["type"] for line in lines if line["source"] == str(long)]
    assert kinds.count("moment") == 72
    assert kinds.count("segment") == len(split(load_run(trained).stream(long))[1])
    assert kinds[-1] == "summary"
    moment = next(line for line in lines if line["type"] == "moment")
    assert moment.keys() == {"source", "type", "frame", "time", "latency", "top"}
    assert len(moment["top"]) == 1
    (error,) = [line for line in lines if line["type"] == "error"]
    assert "gone.mp4" in error["error"]


def test_clips_are_the_default_and_a_long_video_gets_a_hint(command, trained, long, video_set):
    code, out, err = command("predict", trained, video_set / "Left" / "v_g1.avi")
    assert (code, "--stream" in err) == (0, False)
    code, out, err = command("predict", trained, long)
    assert code == 0
    assert "latency" not in out
    assert "long.mp4: 6 s long, where a training clip spans 0.7 s: --stream says what happens when" in err
    code, out, _ = command("predict", trained, video_set, "--json")
    assert (code, len(json.loads(out))) == (0, 12)
    code, _, err = command("predict", trained, long, "--stream", "--over-time")
    assert (code, "--over-time is of clips" in err) == (2, True)
    assert command("predict", trained, "-", "--frame-size", "48")[0] == 2


def test_raw_frames_on_standard_input(command, trained, long, monkeypatch):
    reading, writing = os.pipe()
    data = read_frames(long, range(72)).tobytes()
    monkeypatch.setattr(feeds.sys, "stdin", type("Stdin", (), {"fileno": staticmethod(lambda: reading)}))
    threading.Thread(target=lambda: (os.write(writing, data[:-10]), os.close(writing))).start()
    code, out, err = command("predict", trained, "-", "--frame-size", "48x48", "--fps", "12")
    os.close(reading)
    assert code == 1
    assert "standard input ended within frame 71: 6902 of 6912 bytes" in err
    assert out.count("Left") >= 3
    assert "71 frames, 71 looked at" in out


def test_two_live_sources_at_once(command, trained):
    words = [f"lavfi:{name}=size=48x48:rate=12:duration=1" for name in ("testsrc", "color")]
    code, out, _ = command("predict", trained, *words, "--json")
    assert code == 0
    ends = [json.loads(line) for line in out.splitlines() if '"summary"' in line]
    assert sorted(end["source"] for end in ends) == sorted(words)
    assert all(end["frames"] == 12 for end in ends)


@pytest.mark.parametrize("is_live", [True, False])
def test_a_live_source_is_opened_when_the_model_is_ready(trained, long, monkeypatch, is_live):
    """Else frames that come while kernels are loaded are thrown away."""
    seen = []

    def note(what, function):
        return lambda *given, **named: (seen.append(what), function(*given, **named))[1]

    monkeypatch.setattr(live, "open_feed", note("opened", feeds.open_feed))
    monkeypatch.setattr(StaggeredRows, "advance", note("looked", StaggeredRows.advance))
    stream = load_run(trained).stream("lavfi:testsrc=size=48x48:rate=12:duration=1" if is_live else long)
    moments, _ = split(stream)
    assert seen[: 2 if is_live else 1] == (["looked", "opened"] if is_live else ["opened"])
    assert len(moments) == stream.summary.steps == (12 if is_live else 72)  # nothing is told of the black image


def test_ctrl_c_ends_a_stream_with_its_summary(command, trained, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    threading.Timer(3.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    files = "--overlay", tmp_path / "a.mp4", "--segments", tmp_path / "a.json"
    code, out, err = command("predict", trained, "lavfi:testsrc=size=48x48:rate=12,realtime", *files)
    assert code == 130
    assert "looked at" in out
    assert "--resume" not in err
    assert json.loads((tmp_path / "a.json").read_text())
    with av.open(str(tmp_path / "a.mp4")) as shown:
        assert sum(1 for _ in shown.decode(video=0)) > 3
    assert signal.getsignal(signal.SIGINT) is before


def test_an_overlay_that_fails_costs_itself(command, trained, long, tmp_path, monkeypatch):
    from snn_action.report.overlay import Overlay

    def fail(*_):
        raise av.error.OSError(28, "No space left on device")

    monkeypatch.setattr(Overlay, "_write", fail)
    code, out, err = command("predict", trained, long, "--overlay", tmp_path / "a.mp4")
    assert code == 1
    assert "a.mp4: cannot be written" in err
    assert out.count("Left") >= 3
    assert "72 looked at" in out
