"""The feature set of a catalog's videos, put together from the places where the store has them."""

from collections.abc import Mapping, Sequence

import numpy as np

from snn_action.config import Stream
from snn_action.data.catalog import Catalog
from snn_action.features.feature_set import FeatureSet, StreamRows
from snn_action.features.store import FeatureStore, Place


def assemble(catalog: Catalog, keys: Mapping[int, Mapping[Stream, str]], store: FeatureStore) -> FeatureSet:
    """The feature set of the videos in ``keys`` (by index in the catalog, then by stream), all of them in the store."""
    places = store.find(key for streams in keys.values() for key in streams.values())
    names = next(iter(keys.values()), {}).keys()
    lengths = {index: _lengths(streams, places) for index, streams in keys.items()}
    video = np.repeat(list(keys), [len(clips) for clips in lengths.values()]).astype(np.int64)
    return FeatureSet(
        video=video,
        label=np.array([catalog.videos[index].label for index in video], np.int64),
        length=np.array([n for clips in lengths.values() for n in clips], np.int64),
        streams=tuple(_stream_rows([places[streams[name]] for streams in keys.values()], store) for name in names),
    )


def _lengths(streams: Mapping[Stream, str], places: Mapping[str, Place]) -> tuple[int, ...]:
    (lengths,) = {places[key].lengths for key in streams.values()}
    return lengths


def _stream_rows(places: Sequence[Place], store: FeatureStore) -> StreamRows:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(place.shard for place in places))}
    shard = [numbers[place.shard] for place in places for _ in place.lengths]
    starts = [np.cumsum([place.start, *place.lengths[:-1]]) for place in places]
    return StreamRows(
        shards=tuple(store.open_shard(name) for name in numbers),
        shard=np.array(shard, np.int64),
        offset=np.concatenate(starts).astype(np.int64),
    )
