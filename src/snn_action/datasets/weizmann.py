"""The Weizmann actions (Gorelick, Blank, Shechtman, Irani, Basri 2007): 10 actions by 9 subjects.

``path`` holds ``<action>/<subject>_<action>.avi`` (or folders of JPEG frames of these names). A fold tests one
subject and trains on all others; a video's group is its subject.
"""

from typing import ClassVar, Literal

from pydantic import Field

from snn_action.core.errors import ConfigError
from snn_action.datasets.catalog import Catalog, PathSettings, Video
from snn_action.datasets.lists import check_folder, choose_folds, class_folders, find_videos, leave_one_out
from snn_action.datasets.names import plain_name
from snn_action.video.suffixes import stem


class WeizmannSettings(PathSettings):
    """The Weizmann actions or videos laid out as they are."""

    type: Literal["weizmann"] = Field("weizmann", description="Which dataset this is")
    builds: ClassVar[str] = "snn_action.datasets.weizmann:build"
    split: str = Field("all", description="The subject to test, or 'all' for one fold each")


def build(settings: WeizmannSettings, seed: int) -> Catalog:  # noqa: ARG001 - leaving one out needs no seed
    """Find all videos and leave one subject out.

    Raises:
        ConfigError: the folder or a class is empty, a name holds no subject, or the subject to test is not there.
    """
    root = check_folder(settings.path)
    actions = [folder.name for folder in class_folders(root)]
    videos, subjects = [], []
    for label, action in enumerate(actions):
        found = find_videos(root / action)
        if not found:
            raise ConfigError(f"{root / action}: holds no video; fill this class folder or remove it")
        for path in found:
            subject, underscore, _ = stem(plain_name(path.name)).partition("_")
            if not underscore or not subject:
                raise ConfigError(f"{path}: expected <subject>_<action>, e.g. daria_{action}.avi")
            videos.append(Video(f"{plain_name(action)}/{plain_name(path.name)}", label, subject, path))
            subjects.append(subject)
    if len(set(subjects)) < 2:
        raise ConfigError(f"{root}: {len(set(subjects))} subjects found; leaving one out needs at least two")
    return Catalog(
        tuple(map(plain_name, actions)), tuple(videos), choose_folds(leave_one_out(subjects), settings.split)
    )
