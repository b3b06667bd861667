"""What published weights were trained on, as far as their names say, and what of it could stand in a test set."""

import re

UNKNOWN = "unknown"
_KINETICS = (
    "Kinetics' videos come from YouTube, as do those of UCF101 and many of HMDB51, J-HMDB and other web sets: a test "
    "video, or another cut of its source, may be among them"
)
_CROWD = "its videos were filmed for it by volunteers: none is known to stand in UCF101, HMDB51 or Weizmann"
_PHOTOS = "photos from the web: none is known to be a frame of a test video, but nobody has compared them"
_CRAWL = "images from the web, not published in full: previews and frames of public test videos may be among them"
_TUBE = "its videos come from YouTube and other public sets: test videos of web sets may be among them"
SOURCES = {  # a word of ``trained_on``: what it means for a test
    "Kinetics": _KINETICS,
    "VideoMix": f"it holds Kinetics, HowTo100M, YT-Temporal-1B, Something-Something v2 and ImageNet: {_TUBE}",
    "Something-Something": _CROWD,
    "Diving48": _TUBE,
    "ImageNet": _PHOTOS,
    "JFT": _CRAWL,
    "LAION": _CRAWL,
    "DataComp": _CRAWL,
    "DFN": _CRAWL,
    "MetaCLIP": _CRAWL,
    "WebLI": _CRAWL,
    "WIT": _CRAWL,
    "LVD": f"{_CRAWL}; it was gathered by likeness to curated sets",
    "Instagram": _CRAWL,
    "YFCC": _CRAWL,
    "CC12M": _CRAWL,
}
_NAMES = (  # in the names of published weights, and what they mean, the largest set first
    (r"vjepa2|v-jepa-?2", "VideoMix22M"),
    (r"lvd142m|dinov2(?!-imagenet)", "LVD-142M"),
    (r"lvd1689m|dinov3", "LVD-1689M"),
    (r"laion(400m|2b)?|openclip", "LAION"),
    (r"datacomp(xl)?", "DataComp"),
    (r"dfn\d?b?", "DFN"),
    (r"metaclip", "MetaCLIP"),
    (r"siglip2?|webli", "WebLI"),
    (r"openai(/clip)?", "WIT-400M of OpenAI"),
    (r"jft", "JFT-300M"),
    (r"i?g1b|swsl|wsl|swag", "Instagram"),
    (r"yfcc\w*|ssl", "YFCC-100M"),
    (r"cc12m", "CC12M"),
    (r"in21k|in22k|in12k|imagenet-?(21|22|12)k|google/vit", "ImageNet-21k"),
    (r"in1k|imagenet-?1k|dino|mae(?!\w)", "ImageNet-1k"),
    (r"ssv2|ssv1|something", "Something-Something v2"),
    (r"kinetics|k400|k600|k700|timesformer|vivit", "Kinetics-400"),
    (r"diving48", "Diving48"),
)


def find_origin(name: str) -> str:
    """The sets that weights of such a name were trained on, joined by "and"; "unknown" where it does not say."""
    found = [origin for pattern, origin in _NAMES if re.search(rf"(?<![a-z0-9])(?:{pattern})(?![a-z])", name.lower())]
    if "videomae" in name.lower() and "Something-Something v2" not in found:
        found.append("Kinetics-400")
    return " and ".join(dict.fromkeys(found)) or UNKNOWN


def describe_overlap(trained_on: str) -> str:
    """What of ``trained_on`` could stand in a test set, in words."""
    if trained_on == "nothing":
        return "nothing was learned, so nothing can overlap"
    words = trained_on.lower()
    notes = [f"{source}: {text}" for source, text in SOURCES.items() if source.lower() in words]
    return "; ".join(notes) or "what of that could stand in the test set is unknown"
