"""Layers of a backbone on one clip of a catalog's videos."""

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.datasets.catalog import Catalog
from snn_action.evaluation.energy.count import count_network
from snn_action.evaluation.energy.layers import Layer
from snn_action.video.clips import read_video
from snn_action.video.transforms import normalize


def count_backbone(backbone: Backbone, catalog: Catalog, config: Config, steps: int) -> list[Layer] | None:
    """Layers on the middle frame of the first test video, in each stream, times ``steps``; None without videos.

    A backbone that sees windows of images counts with a whole window at each step, as it is run.
    """
    tested = catalog.videos[catalog.folds[0].test[0]]
    if tested.path is None:
        return None
    size = config.clip.size or backbone.input_size
    clips = read_video(tested.path, config.clip, size, config.seed, tested.name, config.features.limits)
    examples = []
    for images in clips.streams.values():
        middle = images[len(images) // 2 : len(images) // 2 + 1]
        middle = normalize(middle, backbone.mean, backbone.std)
        if backbone.window > 1:
            middle = middle.unsqueeze(1).expand(-1, backbone.window, -1, -1, -1)
        examples.append(middle)
    return count_network(backbone.cpu(), *examples, times=steps)
