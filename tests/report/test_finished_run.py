import json
import shutil

import numpy as np
import pytest

from snn_action.core.errors import ConfigError, WorkError
from snn_action.report.finished_run import read_run


def edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_reads_what_was_written(make_run):
    folder = make_run(videos=5, steps=7, epochs=4)
    run = read_run(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert run.name == "fake"
    assert run.class_names == ("walk", "run", "sit_down", "stand_up")
    assert run.metrics.accuracy.model_dump() == metrics["accuracy"]
    assert run.metrics.summary.baseline.video == metrics["baseline"]["video"]
    assert run.metrics.anytime == tuple(metrics["anytime"])
    assert [epoch.epoch for epoch in run.history] == [0, 1, 2, 3]
    assert len(run.predictions) == 20
    right = sum(prediction.label == prediction.predicted for prediction in run.predictions)
    assert right == np.trace(run.confusion) == sum(result.correct for result in run.metrics.per_class.values())
    assert [example.frames.shape for example in run.examples] == [(7, 54, 72, 3)] * 3
    assert [(example.spikes.shape, example.hidden_units) for example in run.examples] == [((7, 80), 5000)] * 3
    assert run.backbone == "mobilenet_v2"


def test_a_run_that_kept_no_spikes_has_none(make_run):
    folder = make_run(spiking=False)
    assert [example.spikes for example in read_run(folder).examples] == [None] * 3


def test_the_headline_of_several_folds_is_their_mean(make_run):
    run = read_run(make_run(folds=3))
    assert run.metrics.summary.accuracy.video == pytest.approx(
        np.mean([fold.accuracy.video for fold in run.metrics.folds])
    )
    assert {epoch.fold for epoch in run.history} == {"1", "2", "3"}


def test_features_have_no_backbone(make_run):
    run = read_run(make_run(frames=False))
    assert run.backbone is None
    assert all(example.frames is None for example in run.examples)


@pytest.mark.parametrize("name", ["metrics.jsonl", "examples.npz", "environment.json"])
def test_a_run_without_training_examples_or_environment_is_whole(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    run = read_run(folder)
    assert not {"metrics.jsonl": run.history, "examples.npz": run.examples, "environment.json": run.environment}[name]


def test_of_an_epoch_written_twice_the_last_counts(make_run):
    folder = make_run(epochs=3)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('\n{"fold": "1", "epoch": 1, "train": {"loss": 0.125}}\n')
    history = read_run(folder).history
    assert [epoch.epoch for epoch in history] == [0, 1, 2]
    assert history[1].train.loss == 0.125
    assert history[1].test is None


def test_a_diverged_run_can_be_read(make_run):
    folder = make_run(epochs=1)
    (folder / "metrics.jsonl").write_text('{"fold": "1", "epoch": 0, "train": {"loss": NaN}}\n')
    assert np.isnan(read_run(folder).history[0].train.loss)


def test_no_folder_is_wrong_usage(tmp_path):
    with pytest.raises(ConfigError, match="nowhere: there is no such run folder"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv", "confusion.csv"])
def test_an_unfinished_run_names_the_file_and_the_way_out(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(
        WorkError, match=rf"{name} is missing; finish it with: snn-action run --resume .*{folder.name}$"
    ):
        read_run(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.json", "", "not JSON"),
        ("metrics.json", '{"accuracy": ', "not JSON"),
        ("metrics.json", "[]", "a JSON object is wanted"),
        ("metrics.json", '{"accuracy": {"video": 0.5}}', "accuracy.timestep: Field required"),
        ("config.json", "\x00", "not JSON"),
        ("environment.json", "3", "a JSON object is wanted"),
        ("metrics.jsonl", '{"fold": "1", "epoch": 0}\n{"fold": "1", "ep', "line 2: not JSON"),
        ("metrics.jsonl", '{"fold": "1"}\n', "line 1: epoch: Field required"),
        ("confusion.csv", "", "not a square table"),
        ("confusion.csv", ",a,b\na,1,2\n", "not a square table"),
        ("confusion.csv", ",a,b\na,1,2\nb,3\n", "not a square table"),
        ("confusion.csv", ",a,b\na,1,2\nc,3,4\n", "not a square table"),
        ("confusion.csv", ",a,b\na,1,2\nb,3,x\n", "invalid literal"),
        ("confusion.csv", ",a,b\na,1,2\nb,3,-4\n", "negative"),
        ("confusion.csv", ',a,b\na,1,2\nb,3,"4\n', "unexpected end of data"),
        ("predictions.csv", "", "column fold is missing"),
        ("predictions.csv", "fold,video,label,predicted\n", "column probability is missing"),
        ("predictions.csv", "fold,video,label,predicted,probability\n1,v,a,b,often\n", "row 2"),
        ("predictions.csv", "fold,video,label,predicted,probability\n1,v,a,b,0.5\n1,v\n", "row 3"),
        ("examples.npz", "", "No data left"),
        ("examples.npz", "not a zip file", "broken"),
    ],
)
def test_a_broken_file_is_named(make_run, name, content, words):
    folder = make_run()
    (folder / name).write_text(content)
    begun = name in ("config.json", "environment.json")
    optional = begun or name == "metrics.jsonl"  # a report can do without
    with pytest.raises(ConfigError if begun else WorkError, match=words) as raised:
        read_run(folder)
    assert str(folder / name) in str(raised.value)
    assert ("restore it" if optional else f"snn-action evaluate {folder}") in str(raised.value)
    assert "allow_pickle" not in str(raised.value)  # NumPy's advice to read it all the same


def test_text_that_is_not_utf8_is_named(make_run):
    folder = make_run()
    (folder / "predictions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkError, match=r"predictions\.csv: broken \('utf-8'"):
        read_run(folder)


def change_examples(folder, **arrays):
    with np.load(folder / "examples.npz") as file:
        content = dict(file)
    content.update(arrays)
    np.savez(folder / "examples.npz", **{key: value for key, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"probabilities_1": None}, "probabilities_1"),
        ({"probabilities_1": np.ones((16, 3), np.float32)}, "do not fit 4 classes"),
        ({"probabilities_1": np.ones((0, 4), np.float32)}, "do not fit 4 classes"),
        ({"labels": np.array([0, 9, 1])}, "do not fit 4 classes"),
        ({"labels": np.array([0])}, "out of bounds"),
        ({"frames_0": np.zeros((15, 4, 4, 3), np.uint8)}, "frames must be"),
        ({"frames_0": np.zeros((16, 4, 4, 3), np.float32)}, "frames must be"),
        ({"spikes_0": np.zeros(16, np.uint8)}, "spikes must be"),
        ({"spikes_0": np.zeros((15, 2), np.uint8)}, "spikes must be"),
        ({"spikes_0": np.zeros((16, 2), np.float32)}, "spikes must be"),
        ({"spikes_0": np.zeros((16, 0), np.uint8)}, "spikes of 0 of 5000"),
        ({"hidden_units": np.array(79)}, "spikes of 80 of 79 hidden units"),
        ({"names": np.array([{"a": 1}], dtype=object)}, "broken"),
    ],
)
def test_examples_that_do_not_fit_are_refused(make_run, arrays, words):
    folder = make_run()
    change_examples(folder, **arrays)
    with pytest.raises(WorkError, match=words):
        read_run(folder)


def test_keys_of_a_newer_version_are_ignored(make_run):
    folder = make_run()
    edit_json(folder / "metrics.json", lambda value: value.update(carbon={"joules": 1}))
    assert read_run(folder).metrics.test_videos == 48


def test_a_run_can_be_moved(make_run, tmp_path):
    folder = make_run()
    shutil.move(folder, tmp_path / "elsewhere")
    assert read_run(tmp_path / "elsewhere").name == "fake"
