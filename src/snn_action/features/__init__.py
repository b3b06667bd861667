"""Features of clips: extracted once into a store, read in batches."""

from snn_action.features.backbone import check_end_to_end, find_encoder, load_backbone
from snn_action.features.extraction.embed import extract_frames, extract_until, extract_video, prepare
from snn_action.features.extraction.extract import Extraction, extract_features
from snn_action.features.extraction.needs import describe_backbone, read_contents
from snn_action.features.feature_set import FeatureSet, from_arrays

__all__ = [
    "Extraction",
    "FeatureSet",
    "check_end_to_end",
    "describe_backbone",
    "extract_features",
    "extract_frames",
    "extract_until",
    "extract_video",
    "find_encoder",
    "from_arrays",
    "load_backbone",
    "prepare",
    "read_contents",
]
