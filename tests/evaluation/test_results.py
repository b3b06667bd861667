import csv
import io

import numpy as np
import pytest

from snn_action.datasets.catalog import Catalog, Fold, Video
from snn_action.evaluation import FoldResult, summarize, write_confusion_csv, write_predictions_csv
from snn_action.evaluation.predictions import ClipPredictions
from snn_action.evaluation.results import join_folds
from snn_action.models import Population

NAMES = ("sit, down", "stand up", "wave")


@pytest.fixture
def catalog() -> Catalog:
    videos = tuple(Video(f"{NAMES[k % 3]}/v{k}.avi", k % 3, str(k)) for k in range(6))
    folds = (Fold("1", (3, 4, 5), (0, 1, 2)), Fold("2", (0, 1, 2), (3, 4, 5, 1)))
    return Catalog(NAMES, videos, folds, pairs=(("sit, down", "stand up"),))


def said(labels, videos, predicted, steps, spikes=None):
    probabilities = np.full((len(labels), steps, 3), 0.25, np.float32)
    probabilities[np.arange(len(labels)), :, predicted] = 0.5
    mask = np.ones((len(labels), steps), bool)
    return ClipPredictions(probabilities, mask, np.array(labels), np.array(videos), spikes)


@pytest.fixture
def folds() -> list[FoldResult]:
    first = said([0, 1, 2], [0, 1, 2], [0, 1, 0], 2, np.array([[1.0, 0.0], [1.0, 1.0], [2.0, 1.0]]))
    second = said(
        [0, 1, 2, 1], [3, 4, 5, 1], [0, 1, 2, 2], 4, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    )
    weak = said([0, 1, 2], [0, 1, 2], [1, 1, 1], 2), said([0, 1, 2, 1], [3, 4, 5, 1], [0, 0, 0, 0], 4)
    return [FoldResult("1", first, weak[0], 3, 0), FoldResult("2", second, weak[1], 3, 1)]


def test_folds_are_joined_without_mixing_a_video_that_both_tested(folds):
    joined = join_folds([fold.model for fold in folds], 6)
    assert joined.probabilities.shape == (7, 4, 3)
    assert joined.mask.sum(1).tolist() == [2, 2, 2, 4, 4, 4, 4]
    assert len(set(joined.video.tolist())) == 7
    assert joined.spikes is not None
    assert joined.spikes.sum() == 10


def test_summary_of_several_folds(catalog, folds):
    found = summarize(catalog, folds, [Population("a", 8, 3), Population("b", 2, 4)])
    assert found["accuracy"]["video"] == pytest.approx(5 / 7)
    assert found["test_videos"] == 7
    assert [fold["accuracy"]["video"] for fold in found["folds"]] == pytest.approx([2 / 3, 3 / 4])
    assert found["mean"]["accuracy"]["video"] == pytest.approx(17 / 24)
    assert found["std"]["accuracy"]["video"] == pytest.approx(np.std([2 / 3, 3 / 4], ddof=1))
    assert found["mean"]["baseline"]["video"] == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert found["baseline"]["video"] == pytest.approx(2 / 7)
    assert found["pairs"] == [
        {"classes": ["sit, down", "stand up"], "model": pytest.approx(4 / 5), "baseline": pytest.approx(2 / 5)}
    ]
    assert found["per_class"]["wave"] == {"correct": 1, "videos": 2, "accuracy": 0.5}
    assert found["top5"]["video"] == 1.0
    assert found["spikes"] == {
        "per_neuron_per_step": pytest.approx(10 / (10 * 22)),
        "per_clip": pytest.approx(10 / 7),
        "neurons": 10,
        "populations": {
            "a": {
                "per_neuron_per_step": pytest.approx(7 / (8 * 22)),
                "per_clip": pytest.approx(1),
                "neurons": 8,
                "fan_out": 3,
            },
            "b": {
                "per_neuron_per_step": pytest.approx(3 / (2 * 22)),
                "per_clip": pytest.approx(3 / 7),
                "neurons": 2,
                "fan_out": 4,
            },
        },
    }


def test_one_fold_has_no_spread_and_may_lack_a_baseline_and_spikes(catalog):
    alone = FoldResult("1", said([0, 1], [0, 1], [0, 0], 3), None, 3, 0)
    found = summarize(catalog, [alone], ())
    assert "folds" not in found
    assert "mean" not in found
    assert found["baseline"] is None
    assert found["spikes"] is None
    assert found["per_class"]["wave"]["accuracy"] is None
    assert found["anytime"] == [0.5] * 3


def test_predictions_are_one_row_a_video_and_fold(catalog, folds):
    rows = list(csv.DictReader(io.StringIO(write_predictions_csv(catalog, folds))))
    assert [row["fold"] for row in rows] == ["1"] * 3 + ["2"] * 4
    assert rows[0]["label"] == rows[0]["predicted"] == "sit, down"
    assert rows[0]["correct"] == "1"
    assert float(rows[0]["probability"]) == 0.5
    assert rows[2] | {"top5": ""} == {
        "fold": "1",
        "video": "wave/v2.avi",
        "label": "wave",
        "predicted": "sit, down",
        "correct": "0",
        "probability": "0.500000",
        "top5": "",
    }
    assert rows[6]["video"] == "stand up/v1.avi"


def test_confusion_has_the_names_around_it(catalog, folds):
    rows = list(csv.reader(io.StringIO(write_confusion_csv(catalog, folds))))
    assert rows[0][1:] == list(NAMES)
    assert [row[0] for row in rows[1:]] == list(NAMES)
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == [[2, 0, 0], [0, 2, 1], [1, 0, 1]]
