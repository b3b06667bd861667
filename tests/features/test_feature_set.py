import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from snn_action.datasets.catalog import Arrays, Catalog, Fold, Video
from snn_action.features.feature_set import FeatureSet, StreamRows, from_arrays


def make_set():
    rgb = (torch.arange(12.0).reshape(6, 2), torch.arange(100.0, 104.0).reshape(2, 2))
    motion = (torch.arange(8.0).reshape(8, 1),)
    return FeatureSet(
        video=np.array([0, 1, 1]),
        label=np.array([1, 0, 0]),
        length=np.array([4, 2, 2]),
        streams=(
            StreamRows(rgb, np.array([0, 0, 1]), np.array([0, 4, 0])),
            StreamRows(motion, np.array([0, 0, 0]), np.array([4, 0, 2])),
        ),
    )


def test_streams_are_joined_and_short_clips_padded_and_masked():
    features, mask = make_set().read([2, 0])
    assert features.shape == (2, 4, 3)
    assert features[0].tolist() == [[100, 101, 2], [102, 103, 3], [0, 0, 0], [0, 0, 0]]
    assert features[1].tolist() == [[0, 1, 4], [2, 3, 5], [4, 5, 6], [6, 7, 7]]
    assert mask.tolist() == [[True, True, False, False], [True] * 4]


@pytest.mark.parametrize("kind", ["plain", "float16", "columns", "one of each"])
@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("lengths", [[3, 3, 3], [3, 1, 2]])
def test_every_way_to_read_gives_the_rows_of_the_clips_as_writable_float32(kind, streams, lengths):
    plain, wide = torch.arange(24.0).reshape(12, 2), torch.arange(36.0).reshape(12, 3)
    ways = {"plain": plain, "float16": plain.half(), "columns": wide[:, :2]}
    shards = tuple(ways.values()) if kind == "one of each" else (ways[kind],) * 3
    stream = StreamRows(shards, np.array([0, 1, 2]), np.array([5, 0, 9]))
    features = FeatureSet(np.arange(3), np.arange(3), np.array(lengths), (stream,) * streams)
    found, mask = features.read([2, 0, 1])
    assert found.dtype == torch.float32
    assert mask.sum(1).tolist() == [lengths[2], lengths[0], lengths[1]]
    for clip, values in zip((2, 0, 1), found, strict=True):
        start, length = int(stream.offset[clip]), lengths[clip]
        assert torch.equal(values[:length], shards[clip][start : start + length].float().repeat(1, streams))
        assert not values[length:].any()
    before = found.clone()
    found += 1  # a batch is nobody else's
    assert torch.equal(features.read([2, 0, 1])[0], before)


def test_clips_of_videos():
    features = make_set()
    assert features.clips_of([1]) == [1, 2]
    assert features.clips_of([]) == []
    assert (features.dim, features.steps, len(features)) == (3, 4, 3)


def test_one_stream_of_a_set_and_of_its_versions():
    features = replace(make_set(), versions=(make_set(),))
    motion = features.take_stream(1)
    for one in (motion, *motion.versions):
        assert one.dim == 1
        assert torch.equal(one.read([2, 0])[0], features.read([2, 0])[0][..., 2:])


def test_from_arrays():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 5, 2)).astype(np.float16)
    videos = tuple(Video(f"v{i}", i % 2) for i in range(3))
    fold = (Fold("1", (0, 1), (2,)),)
    features = from_arrays(Catalog(("a", "b"), videos, fold, Arrays(data, np.array([5, 3, 5]), "f.npz")))
    read, mask = features.read([0, 1])
    np.testing.assert_array_equal(read[0], data[0].astype(np.float32))
    np.testing.assert_array_equal(read[1, :3], data[1, :3].astype(np.float32))
    assert not read[1, 3:].any()
    assert mask.sum(1).tolist() == [5, 3]
    with pytest.raises(ValueError, match="videos"):
        from_arrays(Catalog(("a", "b"), videos, fold))


def test_a_set_that_is_sent_to_another_process_finds_its_rows_anew():
    stream = StreamRows((torch.arange(12.0).reshape(6, 2),), np.array([0, 0]), np.array([4, 0]))
    features = FeatureSet(np.arange(2), np.arange(2), np.array([2, 3]), (stream,))
    values, _ = features.read([0, 1])
    sent = pickle.dumps(features)
    del features, stream
    assert torch.equal(pickle.loads(sent).read([0, 1])[0], values)


@pytest.mark.parametrize(("offset", "length"), [(4, 3), (-1, 2), (6, 1)])
def test_rows_that_a_shard_does_not_have_are_never_read(offset, length):
    stream = StreamRows((torch.zeros(6, 2),), np.array([0, 0]), np.array([0, offset]))
    with pytest.raises(IndexError, match="clip 1 begins or ends outside its shard"):
        FeatureSet(np.arange(2), np.arange(2), np.array([2, length]), (stream,))
