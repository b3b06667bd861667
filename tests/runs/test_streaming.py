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
    run = load_run(trained, overrides=["evaluation.calibration=false"])
    config = run.config.model_copy(update={"clip": run.config.clip.model_copy(update={"frames": 1000})})
    features, _, clips = extract_video(long, "long", config, run.backbone, run.device)
    evidence = StaggeredRows(run.model, run.config.clip.frames, ROWS).advance(features[0]).mean
    _, segments = split(run.stream(long, StreamSettings(cost=2.0)))
    wanted = find_segments(run.class_names, clips.indices / 12, evidence, 2.0)
    assert [(one.name, round(one.start, 2), round(one.end, 2)) for one in segments] == [
        (one.name, round(one.start, 2), round(one.end, 2)) for one in wanted
    ]
    assert [one.confidence for one in segments] == pytest.approx([one.confidence for one in wanted], abs=1e-3)


def put_threshold(folder, **changes):
    """Change what streams told in a run's calibration."""
    path = folder / "calibration.json"
    content = json.loads(path.read_text())
    content["segments"] |= changes
    path.write_text(json.dumps(content))


def test_what_calibration_makes_of_segments(trained, long):
    run = load_run(trained)
    fitted = run.calibration.segments
    _, plain = split(load_run(trained, overrides=["evaluation.calibration=false"]).stream(long))
    moments, found = split(run.stream(long))
    assert all(one.is_unknown is None for one in plain)
    assert {one.is_unknown for one in found} <= {True, False}
    assert {moment.is_unknown for moment in moments} <= {True, False}
    assert {one.threshold for one in found} == {fitted.find_threshold(0.95)}
    put_threshold(trained, known_scores=[1.0])
    moments, known = split(load_run(trained).stream(long))
    assert [(one.name, one.start, one.end) for one in known] == [(one.name, one.start, one.end) for one in plain]
    assert not any(one.is_unknown for one in (*known, *moments))
    for one, before in zip(known, plain, strict=True):  # two classes: the other one's evidence is the rest
        odds = (before.confidence / (1 - before.confidence)) ** (1 / fitted.temperature)
        assert one.confidence == pytest.approx(odds / (1 + odds), rel=1e-6)
        assert one.score == pytest.approx(1 - one.confidence)
    put_threshold(trained, known_scores=[-1.0])
    moments, unknown = split(load_run(trained).stream(long))
    (only,) = unknown
    assert (only.is_unknown, only.start, only.end) == (True, 0, plain[-1].end)
    assert all(moment.is_unknown for moment in moments)


def test_the_energy_of_a_segment(trained, long):
    content = json.loads((trained / "calibration.json").read_text()) | {"score": "energy"}
    (trained / "calibration.json").write_text(json.dumps(content))
    put_threshold(trained, temperature=1.5, known_scores=[1e6])
    run = load_run(trained)
    _, found = split(run.stream(long))
    config = run.config.model_copy(update={"clip": run.config.clip.model_copy(update={"frames": 1000})})
    features, _, _ = extract_video(long, "long", config, run.backbone, run.device)
    said = StaggeredRows(run.model, run.config.clip.frames, ROWS).advance(features[0])
    logits = np.log(said.shares) + said.totals[..., None]
    energy = -1.5 * np.log(np.exp(logits / 1.5).sum(-1)).mean(1)
    for one in found:
        assert one.score == pytest.approx(energy[round(12 * one.start) : round(12 * one.end)].mean(), abs=2e-3)


def test_a_background_class_is_unknown(command, trained, long, tmp_path):
    put_threshold(trained, known_scores=[1.0])
    _, plain = split(load_run(trained).stream(long))
    words = "--segments", tmp_path / "a.csv", "-o", "evaluation.background=Left"
    code, out, _ = command("predict", trained, long, *words)
    assert code == 0
    rows = [line.split("  ")[-1] for line in out.splitlines()[2:-1]]
    assert rows == ["unknown, nearest: Left" if one.name == "Left" else one.name for one in plain]
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "source,class,start,end,confidence,unknown"
    assert [line[-1] for line in lines[1:]] == ["1" if one.name == "Left" else "0" for one in plain]
    out = command("predict", trained, long, "--json", "--stream", "-o", "evaluation.background=Left")[1]
    parts = [json.loads(line) for line in out.splitlines()]
    told = [part for part in parts if part["type"] == "segment"]
    assert [part["unknown"] for part in told] == [one.name == "Left" for one in plain]
    assert all(part.keys() >= {"score", "threshold"} for part in told)
    assert {part["unknown"] for part in parts if part["type"] == "moment"} == {True, False}


def test_a_run_that_was_calibrated_before_streams_were_says_so_and_what_it_always_said(trained, long, caplog):
    (content := json.loads((trained / "calibration.json").read_text())).pop("segments")
    (trained / "calibration.json").write_text(json.dumps(content))
    moments, found = split(load_run(trained).stream(long))
    assert "calibrated on videos, not on streams" in caplog.text
    _, plain = split(load_run(trained, overrides=["evaluation.calibration=false"]).stream(long))
    assert found == plain
    assert all(moment.is_unknown is None for moment in moments)


def test_a_packed_run_judges_segments_alike(command, trained, long, tmp_path):
    assert command("pack", trained, tmp_path / "a.snn")[0] == 0
    _, found = split(load_run(tmp_path / "a.snn").stream(long))
    assert found == split(load_run(trained).stream(long))[1]
    assert found[0].is_unknown is not None


def test_a_stream_shorter_than_a_clip(trained, long):
    images = read_frames(long, range(72))
    for count in (0, 1, 3):
        moments, found = split(
            load_run(trained).stream(iter(images[:count]), StreamSettings(live=LiveSettings(fps=12)))
        )
        assert (len(moments), len(found)) == (count, min(count, 1))
        assert all(isinstance(one.is_unknown, bool) and 0 <= one.confidence <= 1 for one in found)


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
    assert moment.keys() == {"source", "type", "frame", "time", "latency", "top", "unknown"}
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
