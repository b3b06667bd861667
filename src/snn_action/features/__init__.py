"""Features of clips: extracted once into a store, read in batches."""

from snn_action.features.embed import extract_video, prepare
from snn_action.features.extract import Extraction, extract_features
from snn_action.features.feature_set import FeatureSet, from_arrays

__all__ = ["Extraction", "FeatureSet", "extract_features", "extract_video", "from_arrays", "prepare"]
