"""Features of clips: extracted once into a store, read in batches."""

from snn_action.features.extraction.embed import extract_frames, extract_video, prepare
from snn_action.features.extraction.extract import Extraction, extract_features
from snn_action.features.extraction.needs import describe_backbone, read_contents
from snn_action.features.feature_set import FeatureSet, from_arrays

__all__ = [
    "Extraction",
    "FeatureSet",
    "describe_backbone",
    "extract_features",
    "extract_frames",
    "extract_video",
    "from_arrays",
    "prepare",
    "read_contents",
]
