"""Features of clips: extracted once into a store, read in batches."""

from snn_action.features.embed import extract_video, prepare
from snn_action.features.extract import Extraction, extract_features
from snn_action.features.feature_set import FeatureSet, from_arrays
from snn_action.features.needs import describe_backbone, read_contents

__all__ = [
    "Extraction",
    "FeatureSet",
    "describe_backbone",
    "extract_features",
    "extract_video",
    "from_arrays",
    "prepare",
    "read_contents",
]
