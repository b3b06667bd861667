"""A trained run on new videos: as text, as JSON, over time, and equal to the run's own test."""

import csv
import json

import av
import numpy as np
import pytest
import torch
from PIL import Image

from snn_action.config import load_config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.runs import pipeline
from snn_action.runs.prediction import load_run
from snn_action.video import clips


def write_frames(folder, n=10):
    folder.mkdir()
    for index in range(n):
        image = np.full((48, 48, 3), 60, np.uint8)
        image[:, 3 * index : 3 * index + 8] = 250, 60, 60
        Image.fromarray(image).save(folder / f"frame{index + 1:06}.jpg")
    return folder


@pytest.mark.parametrize("clip", [{"sampling": "first"}, {"sampling": "sliding", "frames": 4, "hop": 3}])
def test_it_says_what_the_run_said_of_its_test_videos(video_config, video_set, clip):
    path = video_config(clip={"frames": 8, **clip})
    folder = pipeline.run(load_config(path), run_id="one").folder
    recognizer = load_run(folder)
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    for row in rows:
        prediction = recognizer.predict(video_set / row["video"])
        ((name, _),) = prediction.top(1)
        assert name == row["predicted"]
        wanted = pytest.approx(float(row["probability"]), abs=2e-3)  # features are kept as float16
        assert prediction.probabilities.max() == wanted
        assert prediction.probabilities.sum() == pytest.approx(1)


def test_commands_print_text_json_and_the_course(command, trained, video_set):
    videos = [video_set / "Left" / "v_g1.avi", video_set / "Right" / "v_g1.avi"]
    code, out, _ = command("predict", trained, *videos)
    assert code == 0
    for video in videos:
        assert str(video) in out
    assert out.count("%") == 4

    code, out, _ = command("predict", trained, *videos, "--json", "--over-time", "--top", "1")
    assert code == 0
    first, second = json.loads(out)
    assert first["video"] == str(videos[0])
    assert len(second["top"]) == 1
    ((*steps,),) = second["over_time"]
    assert [step["frame"] for step in steps] == list(range(8))

    code, out, _ = command("predict", trained, videos[0], "--over-time")
    assert code == 0
    assert "frame     7" in out


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_video_does_not_keep_the_others_from_being_told(command, trained, video_set, tmp_path, as_json):
    whole = video_set / "Left" / "v_g1.avi"
    empty = tmp_path / "empty.avi"
    empty.touch()
    code, out, err = command("predict", trained, empty, tmp_path / "gone.mp4", whole, *(["--json"] if as_json else []))
    assert code == 1
    assert f"error: {empty}" in err
    assert "gone.mp4" in err
    assert "Traceback" not in err
    assert str(whole) in out
    if as_json:
        keys = ["confidence", "score", "threshold", "top", "unknown", "video"]
        assert [sorted(entry) for entry in json.loads(out)] == [["error", "video"]] * 2 + [keys]


def test_what_calibration_makes_of_a_video(command, trained, video_set):
    video = video_set / "Left" / "v_g1.avi"
    prediction = load_run(trained).predict(video)
    calibration = load_run(trained).calibration
    shares = calibration.sharpen(prediction.probabilities)
    assert prediction.confidence == shares.max()
    assert prediction.top(1)[0][1] == shares.max()
    assert prediction.verdict.score == pytest.approx(1 - shares.max())
    assert prediction.is_unknown == (prediction.verdict.score > calibration.threshold)
    for share, threshold in ((1.0, max(calibration.known_scores)), (1e-9, min(calibration.known_scores))):
        said = load_run(trained, overrides=[f"evaluation.known_share={share}"]).predict(video)
        assert said.verdict.threshold == threshold
    ((name, _),) = prediction.top(1)
    code, out, _ = command("predict", trained, video, "-o", f"evaluation.background={name}")
    assert code == 0
    assert out.startswith(f"{video}: unknown, nothing like what was learned; nearest:\n")
    (said,) = json.loads(command("predict", trained, video, "--json", "-o", f"evaluation.background={name}")[1])
    assert said["unknown"] is True
    assert said["confidence"] == pytest.approx(shares.max())
    code, _, err = command("predict", trained, video, "-o", "evaluation.background=Up")
    assert code == 2
    assert "evaluation.background: no class 'Up'" in err


def test_a_run_without_calibration_says_what_it_always_said(command, trained, video_set):
    (trained / "calibration.json").unlink()
    video = video_set / "Left" / "v_g1.avi"
    prediction = load_run(trained).predict(video)
    assert prediction.verdict is prediction.confidence is prediction.is_unknown is None
    assert prediction.top(1)[0][1] == prediction.probabilities.max()
    assert sorted(prediction.to_dict()) == ["top", "video"]
    assert command("predict", trained, video)[1].splitlines()[0] == str(video)


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "mpeg4"), ("clip.mkv", "mpeg4"), ("clip.webm", "libvpx")])
def test_other_containers(trained, write_clip, tmp_path, name, codec):
    prediction = load_run(trained).predict(write_clip(tmp_path / name, codec=codec))
    assert prediction.over_time[0].shape == (8, 2)


def test_a_folder_of_frames_and_a_clip_shorter_than_asked(trained, write_clip, tmp_path):
    recognizer = load_run(trained)
    assert recognizer.predict(write_frames(tmp_path / "frames")).over_time[0].shape == (8, 2)
    short = recognizer.predict(write_clip(tmp_path / "short.avi", frames=3))
    assert short.over_time[0].shape == (3, 2)
    assert short.frames[0].tolist() == [0, 1, 2]


def test_folds_have_models_of_their_own(command, video_config, video_set):
    path = video_config({"test_groups": None, "folds": 2, "split": "all"})
    folder = pipeline.run(load_config(path), run_id="folds").folder
    video = video_set / "Left" / "v_g1.avi"
    first, second = (load_run(folder, fold=name).predict(video).probabilities for name in "12")
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(load_run(folder).predict(video).probabilities, first)
    assert command("predict", folder, video, "--fold", "2")[0] == 0
    code, _, err = command("predict", folder, video, "--fold", "3")
    assert code == 2
    assert "no fold '3'; it has 1, 2" in err


def test_a_run_on_features_cannot_see(command, features_file, write_config, video_set):
    config = load_config(write_config({"type": "features", "path": str(features_file)}))
    folder = pipeline.run(config, run_id="given").folder
    code, _, err = command("predict", folder, video_set / "Left" / "v_g1.avi")
    assert code == 2
    assert "without a backbone" in err
    assert "Train on videos" in err


def test_what_is_no_trained_run(command, trained, tmp_path):
    code, _, err = command("predict", tmp_path / "other", "x.avi")
    assert code == 2
    assert "there is no such run folder" in err
    (trained / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"best\.ckpt: missing, though training has come to its end; restore it"):
        load_run(trained)
    (trained / "trained").unlink()
    with pytest.raises(ConfigError, match="not trained to the end; continue with: snn-action run --resume"):
        load_run(trained)


def test_damaged_weights_and_device_of_a_run(command, trained, video_set):
    code, _, err = command("predict", trained, video_set / "Left" / "v_g1.avi", "-d", "cuda:7")
    assert code == 2
    assert "asks for GPU 7" in err
    weights = trained / "checkpoints" / "best.ckpt"
    weights.write_bytes(weights.read_bytes()[:2000])
    code, _, err = command("predict", trained, video_set / "Left" / "v_g1.avi")
    assert code == 2
    assert "best.ckpt: not a checkpoint" in err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("backbone.weights=random", "backbone.weights: other weights of tiny than this run was trained with: digest"),
        ('clip.streams=["difference", "rgb"]', 'clip.streams is ["difference", "rgb"], was ["rgb", "difference"]'),
        ("clip.frames=4", "clip.frames is 4, was 8"),
        ("clip.size=32", "clip.size is 32, was null"),
        ("model.units=4", "model.units is 4"),
    ],
)
def test_what_was_learned_cannot_be_changed(command, train_once, video_set, override, words):
    folder = train_once(clip={"frames": 8, "sampling": "first", "streams": ["rgb", "difference"]})
    code, out, err = command("predict", folder, video_set / "Left" / "v_g1.avi", "-o", override)
    assert code == 2
    assert not out
    assert words in err
    assert command("predict", folder, video_set / "Left" / "v_g1.avi", "-o", "backbone.batch_size=3")[0] == 0


def test_an_unreadable_video_is_a_work_error(trained, tmp_path):
    (tmp_path / "note.avi").write_text("no video")
    with pytest.raises(WorkError, match=r"note\.avi"):
        load_run(trained).predict(tmp_path / "note.avi")


def test_one_video_that_cannot_be_used_costs_the_others_nothing(command, trained, video_set, monkeypatch):
    from snn_action.runs import prediction

    good, odd, gone = video_set / "Left" / "v_g1.avi", video_set / "Left" / "v_g2.avi", video_set / "gone.avi"
    original = prediction.extract_video

    def fail(path, *words):
        if path == odd:
            raise IndexError("list index out of range")  # of a library
        return original(path, *words)

    monkeypatch.setattr(prediction, "extract_video", fail)
    code, out, err = command("predict", trained, odd, gone, good)
    assert code == 1
    assert out.startswith(str(good))
    assert f"error: {odd}: IndexError: list index out of range" in err
    assert f"error: 2 of 3 videos: no answer for {odd}, {gone}" in err
    code, out, err = command("predict", trained, odd, gone, good, "--json")
    assert code == 1
    first, second, third = json.loads(out)
    assert first == {"video": str(odd), "error": f"{odd}: IndexError: list index out of range"}
    assert "gone.avi" in second["error"]
    assert third["top"]


def write_lossless(path, frames):
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=12)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        output.mux(stream.encode(None))


@pytest.mark.parametrize(
    "clip", [{"streams": ["rgb", "difference"]}, {"sampling": "sliding", "frames": 4, "hop": 3}, {"frames": 30}]
)
def test_frames_in_memory_are_seen_as_those_of_a_file(video_config, tmp_path, clip):
    folder = pipeline.run(load_config(video_config(clip={"frames": 8, **clip})), run_id="one").folder
    recognizer = load_run(folder)
    frames = np.random.default_rng(0).integers(0, 256, (13, 40, 56, 3), np.uint8)
    write_lossless(tmp_path / "frames.avi", frames)
    of_file = recognizer.predict(tmp_path / "frames.avi")
    for given in (frames, torch.from_numpy(frames), list(frames), frames[::-1][::-1]):
        prediction = recognizer.predict(given)
        assert prediction.video == "frames"
        np.testing.assert_allclose(prediction.probabilities, of_file.probabilities, rtol=0, atol=1e-5)
        for found, wanted in zip(prediction.over_time, of_file.over_time, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        for found, wanted in zip(prediction.frames, of_file.frames, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_many_frames_in_memory_go_through_in_parts(trained, monkeypatch):
    recognizer = load_run(trained)
    frames = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    at_once = recognizer.predict(frames)
    monkeypatch.setattr(clips, "PART", 1)
    monkeypatch.setattr(clips, "RESIZED_TOGETHER", 3)
    np.testing.assert_allclose(recognizer.predict(frames).probabilities, at_once.probabilities, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (np.zeros((4, 32, 32, 3), np.float32), "uint8 RGB values from 0 to 255 of one size, not float32"),
        (torch.zeros(4, 32, 32, 3), "not float32"),
        (np.zeros((32, 32, 3), np.uint8), r"\(T, height, width, 3\), not \(32, 32, 3\)"),
        (np.zeros((4, 3, 32, 32), np.uint8), r"not \(4, 3, 32, 32\)"),
        (np.zeros((0, 32, 32, 3), np.uint8), r"not \(0, 32, 32, 3\)"),
        ([np.zeros((32, 32, 3), np.uint8), np.zeros((16, 32, 3), np.uint8)], "of one size"),
        (3, "not int64"),
    ],
)
def test_frames_of_a_wrong_shape_or_type_are_an_error_of_one_line(trained, frames, says):
    with pytest.raises(ConfigError, match=says) as caught:
        load_run(trained).predict(frames)
    assert "\n" not in str(caught.value)
