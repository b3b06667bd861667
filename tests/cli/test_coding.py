"""``snn-action calibrate-coding``, and runs with a coded backbone."""

import json

import pytest

from snn_action.backbones.thresholds import read_thresholds


def test_thresholds_are_chosen_and_used(command, video_config, video_set, tmp_path):
    path, config = tmp_path / "t.json", video_config()
    code, out, _ = command("calibrate-coding", "-c", config, "--out", path, "--max-error", 0.3, "--videos", 2)
    assert code == 0, out
    found = read_thresholds(path)
    assert f"error of the features {100 * found.error:.1f} %: {path}" in out
    assert found.error <= 0.3
    tested = {video.parent.name for video in video_set.rglob("*.avi")}
    assert tested
    assert len(found.calibrated_on) == 2
    coding = ["-o", "backbone.coding=sigma_delta", "-o", f"backbone.thresholds={path}"]
    assert command("run", "-c", config, *coding, "--run-id", "coded")[0] == 0
    assert command("run", "-c", config, "--run-id", "plain")[0] == 0
    runs = {name: next(tmp_path.rglob(f"{name}/metrics.json")) for name in ("coded", "plain")}
    coded, plain = (json.loads(runs[name].read_text()) for name in ("coded", "plain"))
    layers = coded["energy"]["layers"]["backbone"]
    assert next(layer["name"] for layer in layers if layer["kind"] == "neurons") == "images neurons"
    costs = [metrics["operations"]["backbone"] for metrics in (coded, plain)]
    assert costs[0]["effective_macs"] < costs[1]["effective_macs"]
    assert costs[0]["dense_macs"] == costs[1]["dense_macs"]
    assert command("energy", runs["coded"].parent, "--layers")[0] == 0


def test_videos_that_are_tested_are_not_used(command, video_config, tmp_path):
    config = video_config({"test_groups": None, "folds": 2, "split": "all"})
    code, _, err = command("calibrate-coding", "-c", config, "--out", tmp_path / "t.json")
    assert code == 2
    assert "every video is tested by some split" in err
    assert not (tmp_path / "t.json").exists()


@pytest.mark.parametrize("error", [0, -1, "nan", "inf"])
def test_an_error_that_nothing_keeps_is_refused_before_videos_are_read(command, tmp_path, error, video_config):
    config = video_config({"path": str(tmp_path / "none")})
    code, _, err = command("calibrate-coding", "-c", config, "--out", tmp_path / "t.json", "--max-error", error)
    assert code == 2
    assert "--max-error: must be above 0" in err


def test_thresholds_of_test_videos_are_a_leak(command, video_config, video_set, tmp_path):
    path, config = tmp_path / "t.json", video_config()
    assert command("calibrate-coding", "-c", config, "--out", path)[0] == 0
    raw = json.loads(path.read_text())
    raw["calibrated_on"] = [f"{video.parent.name}/{video.name}" for video in sorted(video_set.rglob("*.avi"))]
    path.write_text(json.dumps(raw))
    coding = ["-o", "backbone.coding=sigma_delta", "-o", f"backbone.thresholds={path}"]
    code, _, err = command("run", "-c", config, *coding, "-o", "evaluation.leakage=refuse")
    assert code == 2
    assert "the backbone's thresholds were chosen from" in err


def test_a_file_of_another_kind_is_not_replaced(command, video_config, video_set, tmp_path):
    config, video = video_config(), next(video_set.rglob("*.avi"))
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for out, reason in (
        (video, "no file of thresholds"),
        (config, "no file of thresholds"),
        (tmp_path, "no file of thresholds"),
        (tmp_path / "link", "no file of thresholds"),
        (tmp_path / "none" / "t.json", "there is no folder"),
    ):
        before = out.read_bytes() if out.is_file() else None
        code, _, err = command("calibrate-coding", "-c", config, "--out", out)
        assert code == 2
        assert reason in err
        assert before is None or out.read_bytes() == before
    assert not (tmp_path / "nothing").exists()
