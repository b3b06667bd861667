"""Files of every kind, damaged at random: each is read, or refused by its name (longer: the benchmark of that name)."""

import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.robustness.readers import KINDS, damage, try_one

EXAMPLES = {"video": 20, "check": 100, "run": 60}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_or_refused_by_its_name(name, tmp_path):
    kind = KINDS[name]
    kind.make(tmp_path)
    whole = (tmp_path / kind.file).read_bytes()
    assert kind.read(tmp_path / kind.file) is not None  # undamaged

    @given(st.integers(0, 2**32 - 1))
    @settings(
        max_examples=EXAMPLES.get(name[:5].rstrip(":, "), 200), deadline=None, suppress_health_check=list(HealthCheck)
    )
    def check(seed):
        assert try_one(kind, tmp_path, whole, np.random.default_rng(seed)) in ("read", "refused")

    logging.disable(logging.WARNING)
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)


def test_damage_is_damage():
    whole = bytes(range(256)) * 4
    assert sum(damage(whole, np.random.default_rng(seed)) != whole for seed in range(100)) > 95
