"""Backbone and temporal model in one: equal to the two one after the other, with their streams, states and memory."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn_action.core.errors import ConfigError
from snn_action.models import build_model, find_spikes
from snn_action.models.encoder import FrameEncoder, join_clips, split_clips, take_clips
from snn_action.models.end_to_end import EndToEnd, move

SIDE, CLASSES, BATCH, STEPS = 6, 3, 4, 5
LENGTHS = torch.tensor([5, 2, 4, 3])
LMU = {"type": "lmu", "units": 8, "order": 2, "theta": 4.0, "memory_d": 3, "dropout": 0.0}


def make_encoder(dtype: torch.dtype = torch.float64, **options: Any) -> FrameEncoder:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 7)
    )
    given = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "is_drawn": True, **options}
    return FrameEncoder(network, (3, SIDE, SIDE), 7, **given).to(dtype)


def make(encoder: FrameEncoder | None = None, streams: int = 1, **settings: Any) -> EndToEnd:
    encoder = make_encoder() if encoder is None else encoder
    model = build_model(
        {"type": "end_to_end", "model": LMU, **settings}, streams * 3 * SIDE**2, CLASSES, seed=1, encoder=encoder
    )
    assert isinstance(model, EndToEnd)
    return model.double()


def clips(streams: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    frames = torch.randint(0, 256, (BATCH, STEPS, streams * 3 * SIDE**2), generator=generator, dtype=torch.uint8)
    return frames.double(), torch.arange(STEPS) < LENGTHS.unsqueeze(1)


def test_it_is_the_encoder_then_the_temporal_model():
    model, (frames, mask) = make().eval(), clips()
    images = frames.view(-1, 3, SIDE, SIDE) / 255
    images = (images - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    features = model.encoder.network(images).view(BATCH, STEPS, 7)
    wanted, _ = model.model(features, mask=mask)
    logits, state = model(frames, mask=mask)
    torch.testing.assert_close(logits[mask], wanted[mask], atol=1e-6, rtol=1e-6)
    for t in range(2):
        step, state = model.step(frames[:, t], None if t == 0 else state)
        torch.testing.assert_close(step, logits[:, t])


def test_a_copy_of_the_encoder_is_trained():
    encoder = make_encoder().requires_grad_(False)
    before = copy.deepcopy(encoder.state_dict())
    model, (frames, mask) = make(encoder).train(), clips()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(frames, mask=mask)[0][mask].square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.encoder.parameters())
    optimizer.step()
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert any(not torch.equal(before[key], value) for key, value in model.encoder.state_dict().items())


def test_streams_share_the_encoder_and_lie_side_by_side():
    model, (frames, mask) = make(streams=2).eval(), clips(streams=2)
    one = make(streams=1).eval()
    one.encoder.load_state_dict(model.encoder.state_dict())
    whole, _ = model.encode(frames, mask)
    for stream, part in enumerate(frames.chunk(2, -1)):
        torch.testing.assert_close(whole[..., 7 * stream : 7 * stream + 7], one.encode(part, mask)[0])
    logits, state = model(frames)
    for t in range(STEPS):
        step, state = model.step(frames[:, t], None if t == 0 else state)
        torch.testing.assert_close(step, logits[:, t])


def test_padding_is_in_no_statistics_and_recomputing_gives_equal_gradients_and_statistics():
    frames, mask = clips()
    found = []
    for recompute, padding in ((False, 0), (False, 255), (True, 0)):
        model = make(recompute=recompute, frames_together=100).train()
        model(frames.where(mask.unsqueeze(-1), padding), mask=mask)[0][mask].square().sum().backward()
        buffers = [buffer for name, buffer in model.encoder.named_buffers() if "running" in name or "num" in name]
        found.append([*buffers, *(parameter.grad for parameter in model.parameters())])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_frames_some_at_a_time_give_the_same_where_statistics_are_frozen():
    frames, mask = clips()
    found = []
    for recompute, together in ((False, 64), (True, 1), (True, 3)):
        model = make(recompute=recompute, frames_together=together, batch_norm="frozen").train()
        logits, _ = model(frames, mask=mask)
        logits[mask].square().sum().backward()
        found.append([logits.detach()[mask], *(parameter.grad for parameter in model.parameters())])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@pytest.mark.parametrize("frames", [1, 3, 5, 7])
def test_a_frame_is_left_alone_by_no_part_and_if_it_is_alone_running_statistics_serve(frames):
    """Three frames, two at a time: a part of one frame has no variance behind a layer without places."""
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    seen = []
    network[1].register_forward_pre_hook(lambda module, given: seen.append((len(given[0]), module.training)))
    encoder = FrameEncoder(network, (6,), 4)
    encoder.recompute, encoder.frames_together = True, 2
    x = torch.randn(1, frames, 6, requires_grad=True)
    found, _ = encoder.train()(x, (), None)
    found.square().sum().backward()
    assert bool(x.grad.isfinite().all())
    assert all(trained == (size > 1) for size, trained in seen)
    assert max(size for size, _ in seen) <= 2
    assert network[1].training


@pytest.mark.parametrize(
    ("setting", "is_drawn", "moves"),
    [(None, True, True), (None, False, False), ("frozen", True, False), ("trained", False, True)],
)
def test_statistics_move_where_they_are_trained(setting, is_drawn, moves):
    model, (frames, mask) = make(make_encoder(is_drawn=is_drawn), batch_norm=setting).train(), clips()
    norm = model.encoder.network[1]
    before = norm.running_mean.clone()
    model(frames, mask=mask)
    assert torch.equal(norm.running_mean, before) != moves
    assert model.eval().train().encoder.network[1].training == moves


def test_one_inside_another_is_refused():
    with pytest.raises(ConfigError, match="'end_to_end' inside 'end_to_end' has no frames"):
        build_model({"type": "end_to_end", "model": {"type": "end_to_end"}}, 3, 2, 0)


def test_the_temporal_model_is_prepared_on_what_it_gets():
    model, (frames, mask) = make().train(), clips()
    model.prepare(frames, mask, torch.arange(BATCH) % CLASSES)
    assert model.training
    features, _ = model.eval().encode(frames, mask)
    torch.testing.assert_close(model.model.standardizer.mean, features[mask].mean(0), atol=1e-6, rtol=1e-6)
    assert not model.standardizer.mean.any()


def test_a_head_is_a_plain_network_of_each_frame():
    model, (frames, mask) = make(head=(6, 2)).eval(), clips()
    features, _ = model.encode(frames, mask)
    assert features.shape[-1] == 2
    encoded, _ = model.encoder(frames, (), None)
    first, _, second = model.head
    wanted = torch.relu(encoded @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(features[mask], wanted[mask])
    rates = model.rate_parts()
    assert [len(parameters) for _, parameters in rates] == [6, 4, len(list(model.model.parameters()))]


def test_weights_of_a_temporal_model_alone_are_taken_over():
    model, plain = make(), build_model(LMU, 7, CLASSES, seed=5)
    weights = model.complete(plain.state_dict())
    model.load_state_dict(weights)
    assert all(torch.equal(value, model.model.state_dict()[key].float()) for key, value in plain.state_dict().items())
    assert model.complete(model.state_dict()).keys() == model.state_dict().keys()


def test_spikes_of_the_encoder_are_counted_in_order():
    from snn_action.backbones import build_backbone
    from snn_action.backbones.cut import cut_backbone

    spiking = build_backbone({"name": "spiking_cnn", "size": 16, "channels": [4], "pool": 2}, seed=0)
    part: Any = cut_backbone(spiking, "all", 16)
    settings = {"type": "end_to_end", "model": {"type": "spiking_lmu", "units": 8}}
    model = build_model(settings, 2 * part.feature_dim, CLASSES, seed=0, encoder=part.encoder).eval()
    names = [population.name for population in model.populations]
    assert names == [
        *(f"stream {s}: {name}" for s in (1, 2) for name in ("stem", "stage1_block1_1", "stage1_block1_2")),
        "hidden",
    ]
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 4, 2 * part.feature_dim), generator=generator).float()
    frames[:, :, : part.feature_dim] = 128  # nothing to see
    _, state = model(frames)
    counts = torch.stack(find_spikes(state), 1)
    assert counts.shape == (2, 7)
    one, _ = part.encoder(
        frames[..., part.feature_dim :], part.encoder.initial_state(2, frames.device, frames.dtype), None
    )
    assert one.shape == (2, 4, 16)
    assert (counts[:, 3] > counts[:, 0]).all()


def test_states_are_joined_and_split():
    state = (torch.arange(4.0), (torch.arange(8.0).view(4, 2),), ())
    parts = split_clips(state, 2)
    assert torch.equal(parts[1][1][0], state[1][0][2:])
    joined = join_clips(parts)
    assert torch.equal(joined[0], state[0])
    assert torch.equal(take_clips(state, slice(1, 3))[0], torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train_from": "head"}, "freezes everything before the temporal model"),
        ({"model": {"type": "mean_pool"}}, "learns without gradients"),
        ({"inputs": ("mean",)}, "set them in model.model"),
        ({"rates": {"backbone": 0.0}}, "rates.backbone: .*greater than 0"),
        ({"batch_norm": "off"}, "batch_norm"),
        ({"train_from": "layer4", "shift": 0.1}, "shift, zoom: of frames"),
    ],
)
def test_what_does_not_go_together_is_said(settings, words):
    with pytest.raises(ConfigError, match=words):
        make(**settings)


def test_frames_of_another_size_are_an_error():
    with pytest.raises(ConfigError, match="100 values of a step are not frames of 108 values"):
        build_model({"type": "end_to_end", "model": LMU}, 100, CLASSES, encoder=make_encoder())


def test_frames_are_moved_in_training_alone_one_draw_a_clip():
    frames = torch.arange(2 * 3 * 3 * SIDE**2, dtype=torch.float64).view(2, 3, -1)
    shape = (3, SIDE, SIDE)
    torch.manual_seed(0)
    torch.testing.assert_close(move(frames, shape, 0.0, 0.0, 1), frames)
    moved = move(torch.cat([frames, frames]), shape, 0.3, 0.2, 2)
    torch.testing.assert_close(moved[:2], moved[2:])  # both streams alike
    torch.manual_seed(0)
    torch.rand(2, 3, dtype=torch.float64)
    draws = torch.rand(2, 3, dtype=torch.float64) * 2 - 1
    for clip, (size, right, down) in enumerate(draws.tolist()):
        image = frames[clip, 1].view(shape)[2]
        for row, column in ((0, 0), (2, 4), (5, 1)):
            at = [
                ((2 * place + 1) / SIDE - 1) * (1 + 0.2 * size) + 0.6 * by
                for place, by in ((column, right), (row, down))
            ]
            x, y = (min(max(((a + 1) * SIDE - 1) / 2, 0), SIDE - 1) for a in at)
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, SIDE - 1), min(y0 + 1, SIDE - 1)
            above = image[y0, x0] * (1 - x + x0) + image[y0, x1] * (x - x0)
            below = image[y1, x0] * (1 - x + x0) + image[y1, x1] * (x - x0)
            wanted = above * (1 - y + y0) + below * (y - y0)
            torch.testing.assert_close(moved[clip, 1].view(shape)[2, row, column], wanted)
    model, (frames, mask) = make(shift=0.3, zoom=0.2, batch_norm="frozen"), clips()
    first, second = (model.train()(frames, mask=mask)[0] for _ in range(2))
    assert not torch.allclose(first, second)
    plain = make(batch_norm="frozen").eval()
    torch.testing.assert_close(model.eval()(frames, mask=mask)[0], plain(frames, mask=mask)[0])
