import json

import pytest

from snn_action.datasets.trained_on import UNKNOWN, Member, TrainedOn, parse_trained_on

WALK, RUN = Member("a/walk.avi", "walk", "g1", "12ab"), Member("b/run.avi")


def test_what_was_learned_from_is_read_as_it_was_written():
    learned = TrainedOn((WALK,)).and_further([RUN, WALK])
    assert learned.videos == (WALK, RUN)
    assert parse_trained_on(json.loads(json.dumps(learned.to_content()))) == learned
    assert parse_trained_on(UNKNOWN.and_further([RUN]).to_content()) == TrainedOn((RUN,), complete=False)


def test_weights_that_say_nothing_are_of_unknown_origin():
    assert parse_trained_on(None) is UNKNOWN


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"complete": 1, "videos": []},
        {"complete": True, "videos": None},
        {"complete": True, "videos": ["abcd"]},
        {"complete": True, "videos": [["a", "b", "c"]]},
        {"complete": True, "videos": [[None, "b", "c", "d"]]},
        {"complete": True, "videos": [["a", "b", 3, "d"]]},
    ],
)
def test_anything_else_is_refused(content):
    with pytest.raises(ValueError, match="'trained_on' is not what a run writes"):
        parse_trained_on(content)
