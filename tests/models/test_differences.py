import pytest
import torch

from snn_action.models.differences import start_past, subtract_past


def start(batch: int, lag: int, features: int):
    return start_past(batch, lag, features, torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("lag", [1, 2, 5])
@pytest.mark.parametrize("cut", [1, 3, 6])
def test_differences_are_those_of_the_whole_clip_however_it_is_cut(lag, cut):
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    expected = torch.zeros_like(x)
    expected[:, lag:] = x[:, lag:] - x[:, :-lag]
    first, past = subtract_past(x[:, :cut], start(2, lag, 3), None, normalize=False)
    second, past = subtract_past(x[:, cut:], past, None, normalize=False)
    torch.testing.assert_close(torch.cat((first, second), 1), expected)
    torch.testing.assert_close(past.steps, torch.full((2,), 7.0, dtype=torch.float64))


def test_past_is_that_of_each_clips_last_real_step():
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    mask = torch.arange(6) < torch.tensor([[2], [6]])
    _, past = subtract_past(x, start(2, 3, 3), mask, normalize=False)
    _, alone = subtract_past(x[:1, :2], start(1, 3, 3), None, normalize=False)
    torch.testing.assert_close(past.inputs[:1], alone.inputs)
    torch.testing.assert_close(past.inputs[1], x[1, 3:])
    assert past.steps.tolist() == [2, 6]


def test_normalized_differences_forget_their_size():
    x = torch.randn(1, 5, 8, dtype=torch.float64)
    small, _ = subtract_past(x, start(1, 1, 8), None, normalize=True)
    large, _ = subtract_past(100 * x, start(1, 1, 8), None, normalize=True)
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(small[:, 1:].square().mean(-1), torch.ones(1, 4, dtype=torch.float64), rtol=1e-3, atol=0)
    assert small[:, 0].abs().max() == 0
