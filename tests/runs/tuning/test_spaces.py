from collections import Counter

import optuna
import pytest

from snn_action.config import load_config
from snn_action.core import registry
from snn_action.models import check_model
from snn_action.runs.tuning.candidates import Candidate, list_sources
from snn_action.runs.tuning.spaces import DEFAULT, SPACES, list_baselines, list_starts, propose

SIZES, STEPS = (40, 40), 28


@pytest.fixture
def config(write_config):
    clip = {"frames": STEPS, "streams": ["rgb", "difference"]}
    return load_config(write_config({"type": "folder", "path": "videos"}, clip=clip))


def draw(study: optuna.Study, kinds, sources) -> Candidate:
    return propose(study.ask(), kinds, sources, SIZES, STEPS)


def test_sources_are_each_stream_and_both_ways_to_put_them_together(config):
    assert list_sources(config, from_videos=True) == ["rgb", "difference", "joined", "late"]
    assert list_sources(config, from_videos=False) == ["given"]


@pytest.mark.parametrize(
    "kind", [name for name, _ in registry.items("model") if name not in ("mean_pool", "late_fusion")]
)
def test_whatever_is_drawn_can_be_built(kind, config):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), direction="maximize")
    sources = list_sources(config, from_videos=True)
    drawn = [draw(study, [kind], sources) for _ in range(60 if kind in SPACES else 6)]
    for candidate in drawn:
        applied = candidate.apply(config)
        check_model(applied.model)
        assert applied.training.validation_share == 0
    if kind in SPACES:
        assert {candidate.source for candidate in drawn} == set(sources)


def test_starts_are_points_of_the_space(config):
    sources = list_sources(config, from_videos=True)
    starts = list_starts(DEFAULT, sources, STEPS)
    assert Counter(start["model"] for start in starts) == {"lmu": 12, "spiking_lmu": 12, "ensemble_array": 4}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), direction="maximize")
    for start in starts:
        study.enqueue_trial(start)
        trial = study.ask()
        propose(trial, DEFAULT, sources, SIZES, STEPS).apply(config)
        assert trial.params == start, "a start names all that is drawn, and nothing else"


def test_a_short_search_sees_every_kind_on_the_richest_source():
    first = list_starts(DEFAULT, ["rgb", "difference", "joined", "late"], STEPS)[: len(DEFAULT)]
    assert [start["model"] for start in first] == [*DEFAULT]
    assert {start["source"] for start in first} == {"late"}


def test_the_longest_memory_of_a_start_fits_short_clips():
    assert all(start.get("lmu.theta", 0) <= 4 for start in list_starts(["lmu"], ["given"], 2))


def test_baselines_see_every_source_and_choose_their_penalty(config):
    for candidate in list_baselines(list_sources(config, from_videos=True)):
        applied = candidate.apply(config)
        assert applied.training.validation_share > 0
        assert applied.model.type == ("late_fusion" if candidate.source == "late" else "mean_pool")


@pytest.mark.parametrize(
    ("source", "streams", "kind"),
    [("rgb", ["rgb"], "lmu"), ("joined", ["rgb", "difference"], "lmu"), ("late", ["rgb", "difference"], "late_fusion")],
)
def test_a_candidate_changes_streams_and_model(config, source, streams, kind):
    weights = (0.25, 0.75) if source == "late" else None
    applied = Candidate({"type": "lmu", "units": 16}, source, {"epochs": 7}, weights).apply(config)
    assert [*applied.clip.streams] == streams
    assert applied.model.type == kind
    assert applied.training.epochs == 7
    assert applied.training.batch_size == config.training.batch_size


def test_a_candidate_survives_its_text():
    candidate = Candidate({"type": "lmu", "units": 16}, "late", {"epochs": 7}, (0.25, 0.75))
    assert Candidate.parse(candidate.to_text()) == candidate


def test_the_baseline_is_tried_without_rounding_as_it_has_no_matrices(config):
    few = config.model_copy(update={"training": config.training.model_copy(update={"weight_bits": 4})})
    found = {kind: Candidate({"type": kind}, "given").apply(few).training.weight_bits for kind in ("mean_pool", "lmu")}
    assert found == {"mean_pool": None, "lmu": 4}
