"""The feature set of a catalog's videos, put together from the places where the store has them."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from snn_action.core.errors import WorkError
from snn_action.datasets.catalog import Catalog
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.features.store.store import FeatureStore, Place
from snn_action.video.settings import Stream

_WAY_OUT = "one is not of this program: move it out of the store's folder shards and start again"


def assemble(catalog: Catalog, keys: Mapping[int, Mapping[Stream, str]], store: FeatureStore) -> FeatureSet:
    """The feature set of the videos in ``keys`` (by index in the catalog, then by stream), all of them in the store.

    Raises:
        WorkError: one is not there any more, or a shard is broken or fits no other.
    """
    places, shards = store.open(key for streams in keys.values() for key in streams.values())
    names = next(iter(keys.values()), {}).keys()
    lengths = {index: _lengths(streams, places) for index, streams in keys.items()}
    video = np.repeat(list(keys), [len(clips) for clips in lengths.values()]).astype(np.int64)
    return FeatureSet(
        video=video,
        label=np.array([catalog.videos[index].label for index in video], np.int64),
        length=np.array([n for clips in lengths.values() for n in clips], np.int64),
        streams=tuple(_stream_rows([places[streams[name]] for streams in keys.values()], shards) for name in names),
    )


def _lengths(streams: Mapping[Stream, str], places: Mapping[str, Place]) -> tuple[int, ...]:
    first, *others = (places[key] for key in streams.values())
    for other in others:
        if other.lengths != first.lengths:
            raise WorkError(f"{first.shard} and {other.shard}: streams of one video with other clips; {_WAY_OUT}")
    return first.lengths


def _stream_rows(places: Sequence[Place], opened: Mapping[str, Tensor]) -> StreamRows:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(place.shard for place in places))}
    shard = [numbers[place.shard] for place in places for _ in place.lengths]
    starts = [np.cumsum([place.start, *place.lengths[:-1]]) for place in places]
    widths = {opened[name].shape[1]: name for name in numbers}
    if len(widths) > 1:
        named = ", ".join(f"{name} has {width} numbers a row" for width, name in widths.items())
        raise WorkError(f"shards of one stream that do not fit together: {named}; {_WAY_OUT}")
    return StreamRows(
        shards=tuple(opened[name] for name in numbers),
        shard=np.array(shard, np.int64),
        offset=np.concatenate(starts).astype(np.int64),
    )
