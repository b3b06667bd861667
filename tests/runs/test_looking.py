"""Predictions that end early, against those of all steps cut where the rule says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from snn_action.config import load_config
from snn_action.core.errors import ConfigError
from snn_action.evaluation.early_stop import Stop, find_stops, stop_early
from snn_action.evaluation.predictions import ClipPredictions
from snn_action.features.extraction import embed
from snn_action.runs import pipeline
from snn_action.runs.prediction import load_run

SPIKING = {"type": "spiking_lmu", "units": 16, "order": 2, "memory_d": 8}
CASES = {
    "first": ({"frames": 8, "sampling": "first"}, {}),
    "sliding clips": ({"frames": 4, "sampling": "sliding", "hop": 3}, {"model": SPIKING}),
    "segments of two streams": (
        {"frames": 6, "sampling": "segments", "clips": 2, "streams": ["rgb", "difference"]},
        {"model": {"type": "late_fusion", "model": {"type": "lmu", "units": 16, "order": 2}}},
    ),
    "a mean": ({"frames": 8, "sampling": "uniform"}, {"model": {"type": "mean_pool"}}),
    "a coded backbone": ({"frames": 8, "sampling": "uniform"}, {"backbone": {"name": "tiny", "coding": "sigma_delta"}}),
    "clips of a coded backbone": (
        {"frames": 4, "sampling": "sliding", "hop": 3},
        {"backbone": {"name": "tiny", "coding": "sigma_delta"}},
    ),
    "from frames": (
        {"frames": 8, "sampling": "uniform"},
        {"model": {"type": "end_to_end", "train_from": "all", "model": {"type": "lmu", "units": 16, "order": 2}}},
    ),
}


def stopping(recognizer, stop):
    """The recognizer, as if ``stop`` had been found on held-out videos."""
    assert recognizer.calibration is not None
    recognizer.calibration = replace(recognizer.calibration, stop=stop)
    return recognizer


def gather(prediction, averaged):
    """What was said at all steps, as one set of clips."""
    longest, classes = max(map(len, prediction.over_time)), len(prediction.class_names)
    shares = np.zeros((len(prediction.over_time), longest, classes), np.float32)
    mask = np.zeros(shares.shape[:2], bool)
    for clip, said in enumerate(prediction.over_time):
        shares[clip, : len(said)], mask[clip, : len(said)] = said, True
    none = np.zeros(len(shares), np.int64)
    return ClipPredictions(shares, mask, none, none, None, averaged)


@pytest.mark.parametrize("case", CASES)
def test_a_clip_is_cut_where_the_rule_says(video_config, video_set, case, monkeypatch):
    clip, sections = CASES[case]
    config = video_config(clip=clip, **{"evaluation": {"calibration": True}, **sections})
    recognizer = load_run(pipeline.run(load_config(config), run_id="one").folder)
    images = []
    embedded = embed.embed_next
    monkeypatch.setattr(
        embed,
        "embed_next",
        lambda backbone, frames, *rest: images.append(len(frames)) or embedded(backbone, frames, *rest),
    )
    video = video_set / "Left" / "v_g1.avi"
    whole = recognizer.predict(video)
    seen, images[:] = sum(images), []
    assert whole.all_steps is None
    said = gather(whole, recognizer.model.averages_time)
    course = np.sort(said.probabilities.max(2)[said.mask])
    for stop in (Stop(0.01), Stop(float(np.median(course))), Stop(0.01, 3), Stop(1.0)):
        early = stopping(recognizer, stop).predict(video, early_stop=True)
        stops = find_stops(said, stop)
        assert [len(each) for each in early.over_time] == stops.tolist()
        assert (early.looked_at, early.all_steps) == (stops.sum(), said.mask.sum())
        wanted = gather(early, said.averaged).probabilities
        cut = stop_early(said, stop)
        kept = cut.probabilities[:, : wanted.shape[1]] * cut.mask[:, : wanted.shape[1], None]
        np.testing.assert_allclose(wanted, kept, atol=2e-5)
        for all_frames, frames in zip(whole.frames, early.frames, strict=True):
            assert frames.tolist() == all_frames[: len(frames)].tolist()
        if stop.confidence == 1.0:
            np.testing.assert_allclose(early.probabilities, whole.probabilities, atol=2e-5)
            assert sum(images) == seen
        elif stop == Stop(0.01) and len(stops) == 1:
            assert sum(images) * said.mask.sum() == seen  # of all streams, one step
        images[:] = []


def test_frames_in_memory_end_early_too(trained):
    recognizer = stopping(load_run(trained), Stop(0.01))
    frames = torch.randint(0, 255, (12, 40, 40, 3), dtype=torch.uint8)
    early = recognizer.predict(frames, early_stop=True)
    assert early.looked_at == 1
    np.testing.assert_allclose(early.over_time[0], recognizer.predict(frames).over_time[0][:1], atol=2e-5)


def test_the_command_says_how_much_was_looked_at(command, trained, video_set):
    videos = [video_set / "Left" / "v_g1.avi", video_set / "Right" / "v_g1.avi"]
    code, out, _ = command("predict", trained, *videos, "--early-stop", "--json")
    assert code == 0
    for said in json.loads(out):
        assert 1 <= said["steps"] <= said["of"] == 8
    code, out, _ = command("predict", trained, videos[0], "--early-stop")
    assert " of 8 steps looked at)" in out
    assert "looked at" not in command("predict", trained, videos[0])[1]
    code, _, err = command("predict", trained, videos[0], "--early-stop", "--stream")
    assert code == 2
    assert "--early-stop is of clips" in err


def test_a_run_that_does_not_know_when_is_refused_before_a_video_is_read(video_config, tmp_path):
    config = video_config(clip={"frames": 8})
    folder = pipeline.run(load_config(config), run_id="one").folder
    recognizer = load_run(folder)
    recognizer.calibration = None
    with pytest.raises(ConfigError, match=r"early stop: .*train with -o evaluation.calibration=true"):
        recognizer.predict(tmp_path / "none.avi", early_stop=True)
    with pytest.raises(ConfigError, match="early stop"):
        list(recognizer.predict_each([tmp_path / "none.avi"], early_stop=True))
