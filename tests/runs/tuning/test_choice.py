import numpy as np
import pytest

from snn_action.runs.tuning.candidates import Candidate
from snn_action.runs.tuning.choice import Outcome, choose, compare, find_luck, format_rows, list_best, make_rows

VIDEOS = 60
GROUPS = [f"g{video // 3}" for video in range(VIDEOS)]


def make(kind: str, right: int, loss: float = 1.0, source: str = "rgb") -> Outcome:
    """The first ``right`` videos are recognized."""
    found = np.arange(VIDEOS) < right
    folds = tuple(float(part.mean()) for part in np.split(found, 4))
    return Outcome(Candidate({"type": kind}, source), found, folds, loss, 2.0, {"effective_macs": 3e6})


def test_the_best_is_chosen_where_it_beats_the_baseline():
    outcomes = [make("mean_pool", 30), make("lmu", 50), make("spiking_lmu", 55)]
    choice = choose(outcomes, GROUPS)
    assert choice.chosen is outcomes[2]
    assert choice.beats
    assert "better by more than noise" in choice.explain()


def test_the_baseline_is_proposed_where_nothing_beats_it_by_more_than_noise():
    outcomes = [make("mean_pool", 50), make("mean_pool", 40, source="difference"), make("lmu", 51)]
    choice = choose(outcomes, GROUPS)
    assert choice.chosen is outcomes[0]
    assert choice.best is outcomes[2]
    assert "Nothing beats the baseline by more than noise" in choice.explain()


def test_a_spiking_head_is_chosen_where_one_was_asked_for():
    outcomes = [make("mean_pool", 50), make("lmu", 55), make("spiking_lmu", 45), make("ensemble_array", 46)]
    choice = choose(outcomes, GROUPS, spiking=True)
    assert choice.chosen is outcomes[3]
    assert "A spiking head was asked for" in choice.explain()


def test_ties_go_to_the_smaller_loss():
    outcomes = [make("mean_pool", 10), make("lmu", 50, loss=0.9), make("spiking_lmu", 50, loss=0.7)]
    assert choose(outcomes, GROUPS).chosen is outcomes[2]


def test_the_interval_is_of_paired_videos_in_whole_groups():
    one, other = np.zeros(VIDEOS, bool), np.zeros(VIDEOS, bool)
    assert compare(one, other, GROUPS) == (0.0, 0.0, 0.0)
    one[:6] = True  # two groups of twenty: in 95 % of draws 0 to 5 of them
    gain, low, high = compare(one, other, GROUPS)
    assert gain == pytest.approx(0.1)
    assert low == 0.0
    assert high == pytest.approx(0.25, abs=0.051)
    singles = compare(one, other, [str(video) for video in range(VIDEOS)])
    assert singles[1] > low  # were videos independent, more would be known
    assert compare(other, one, GROUPS)[0] == pytest.approx(-0.1)


def test_the_best_of_many_equal_candidates_is_lucky():
    """Of 40 heads as good as the baseline the best does not count as better more often than in one case of 20."""
    chance = np.random.default_rng(0)
    beaten, single = 0, 0
    for _ in range(40):
        said = chance.random((41, VIDEOS)) < 0.7
        gains = [compare(one, said[0], GROUPS) for one in said[1:]]
        best = max(gains)
        beaten += best[0] > find_luck([*said[1:]], gains.index(best), said[0], GROUPS)
        single += best[1] > 0
    assert beaten <= 6
    assert single > 2 * beaten


def test_a_poor_candidate_of_much_variance_raises_the_bar_little():
    chance = np.random.default_rng(2)
    baseline = chance.random(VIDEOS) < 0.7
    best = baseline | (chance.random(VIDEOS) < 0.3)
    alone = find_luck([best], 0, baseline, GROUPS)
    beside = find_luck([best, chance.random(VIDEOS) < 0.3], 0, baseline, GROUPS)
    assert alone < beside < 1.5 * alone


def test_few_groups_tell_nothing():
    outcomes = [make("mean_pool", 10), make("lmu", 60)]
    choice = choose(outcomes, ["a", "b", "c", "d"] * 15)
    assert choice.chosen is outcomes[0]
    assert "too few groups" in choice.explain()
    assert find_luck([np.ones(VIDEOS, bool)], 0, np.ones(VIDEOS, bool), GROUPS) == float("inf")


def test_no_loss_outweighs_a_video():
    outcomes = [make("mean_pool", 10), make("lmu", 50, loss=27.0), make("spiking_lmu", 49, loss=0.01)]
    assert choose(outcomes, GROUPS).best is outcomes[1]


def test_groups_of_other_sizes_count_by_their_videos():
    one = np.array([True, True, True, False])
    gain, _, _ = compare(one, np.zeros(4, bool), ["a", "a", "a", "b"])
    assert gain == pytest.approx(0.75)


def test_a_table_has_the_best_of_each_model_and_source():
    outcomes = [make("mean_pool", 20), make("lmu", 40), make("lmu", 50), make("lmu", 45, source="joined")]
    assert [one.accuracy for one in list_best(outcomes)] == [50 / 60, 45 / 60, 20 / 60]
    choice = choose(outcomes, GROUPS)
    rows = make_rows(outcomes, choice, GROUPS, ["rgb", "difference"])
    assert [row["streams"] for row in rows] == ["rgb", "rgb + difference", "rgb"]
    assert [row["chosen"] for row in rows] == [True, False, False]
    text = format_rows(rows)
    assert len(text.splitlines()) == 4
    assert text.splitlines()[1].startswith("*  lmu")
    assert "83.3" in text
