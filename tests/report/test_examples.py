import numpy as np
import pytest

from snn_action.report.examples import thin_out


@pytest.mark.parametrize("units", [1, 79, 80, 81, 512, 50_000])
def test_shown_units_are_spread_evenly_over_all(units):
    spikes = np.arange(units).reshape(1, units)  # each unit tells its place
    (chosen,) = thin_out(spikes)
    assert len(chosen) == min(units, 80)
    gaps = np.diff([*chosen.astype(int), units])
    assert chosen[0] == 0
    assert set(gaps) <= {units // len(chosen), -(-units // len(chosen))}


@pytest.mark.parametrize(("count", "kind"), [(0, np.uint8), (255, np.uint8), (256, np.uint16), (70_000, np.uint32)])
def test_counts_are_kept_in_the_smallest_type(count, kind):
    spikes = np.array([[0, count], [0, 0]])
    assert thin_out(spikes).dtype == kind
    np.testing.assert_array_equal(thin_out(spikes), spikes)
