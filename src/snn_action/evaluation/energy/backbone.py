"""Layers of a backbone on one clip of a catalog's videos."""

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.datasets.catalog import Catalog
from snn_action.evaluation.energy.count import count_network
from snn_action.evaluation.energy.layers import Layer
from snn_action.video.clips import read_video
from snn_action.video.transforms import normalize

VIDEOS = 4  # of which the clips of a coded backbone are counted


def count_backbone(backbone: Backbone, catalog: Catalog, config: Config, steps: int) -> list[Layer] | None:
    """Layers of a clip of ``steps`` steps, in each stream; None without videos.

    Counted is the middle frame of the first test video, at each step; a backbone that sees windows of images counts
    with a whole window. What a coded backbone does depends on what moves: its counts are means over the first clips of
    some test videos, evenly spread over the test.
    """
    tested = [catalog.videos[index] for index in catalog.folds[0].test]
    coded = backbone.cpu().coded
    chosen = tested[:1] if coded is None else tested[:: max(1, len(tested) // VIDEOS)][:VIDEOS]
    size = config.clip.size or backbone.input_size
    examples = []
    for video in chosen:
        if video.path is None:
            return None
        clips = read_video(video.path, config.clip, size, config.seed, video.name, config.features.limits)
        for images in clips.streams.values():
            if coded is not None:
                first = clips.clips[0]
                examples.append(normalize(images[first[first < len(images)]], backbone.mean, backbone.std))
                continue
            middle = images[len(images) // 2 : len(images) // 2 + 1]
            middle = normalize(middle, backbone.mean, backbone.std)
            if backbone.window > 1:
                middle = middle.unsqueeze(1).expand(-1, backbone.window, -1, -1, -1)
            examples.append(middle)
    if coded is None:
        return count_network(backbone, *examples, times=steps)
    n_streams = len(config.clip.streams)
    return count_network(coded, *examples, times=steps * n_streams / sum(map(len, examples)))
