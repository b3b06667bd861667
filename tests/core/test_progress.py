import logging
import re

import pytest

from snn_action.core.progress import track


def test_without_a_bar_what_is_said_goes_to_the_log_once(caplog):
    with caplog.at_level(logging.INFO), track("Extracting", 5, show=False) as tick:
        tick()
        for _ in range(3):
            tick.say("Waiting for somebody")
        tick.say()
        tick.say("Waiting for somebody")
    assert caplog.messages == ["Extracting: 5 videos", *["Waiting for somebody"] * 2]


@pytest.mark.parametrize(("said", "shown"), [("Waiting for somebody", "Waiting for somebody"), ("", "Extracting")])
def test_a_bar_shows_speed_time_left_and_what_was_said_last(capsys, said, shown):
    with track("Extracting", 5, show=True) as tick:
        tick(3)
        tick.say("Waiting for another one")
        tick()
        tick.say(said)
    told = capsys.readouterr().err
    assert shown in told
    assert "another one" not in told
    assert "4/5" in told
    assert re.search(r"[\d.]+ videos/s [\d:]+", told)
