import dataclasses
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.core.errors import ConfigError, WorkError
from snn_action.datasets.catalog import Catalog, Fold
from snn_action.features import keys
from snn_action.features.extraction import decoding, extract, first_look
from snn_action.features.extraction import embed as embedding
from snn_action.features.extraction.embed import extract_video
from snn_action.features.extraction.extract import Extraction, extract_features
from snn_action.features.extraction.needs import read_contents
from snn_action.features.store.store import FeatureStore
from snn_action.video import clips as clips_of_a_video
from snn_action.video.decode import read_frames
from snn_action.video.sampling import sample_clips
from snn_action.video.settings import LimitSettings
from snn_action.video.transforms import difference_image, normalize, resize

from ..conftest import SIZE, make_folder

Configure = Callable[..., Config]


def run(catalog: Catalog, config: Config, backbone: Backbone) -> Extraction:
    return extract_features(catalog, config, backbone, "cpu", progress=False)


def rows_of(extraction: Extraction) -> list[torch.Tensor]:
    features = extraction.features
    return [features.read([clip])[0][0, : features.length[clip]] for clip in range(len(features))]


@pytest.mark.parametrize(
    "clip",
    [{}, {"sampling": "uniform"}, {"sampling": "random"}, {"sampling": "sliding", "hop": 2}],
    ids=lambda clip: clip.get("sampling", "first"),
)
def test_features_are_those_of_each_frame_alone(
    catalog: Catalog, small: Backbone, configure: Configure, clip: dict[str, object]
) -> None:
    config = configure(clip={"streams": ("rgb", "difference"), "difference_span": 2, **clip})
    extraction = run(catalog, config, small)
    found = iter(zip(extraction.features.video, extraction.features.label, rows_of(extraction), strict=True))
    images = 0
    for index, video in enumerate(catalog.videos):
        n = len(list(video.path.iterdir()))
        clips = sample_clips(n, config.clip, config.seed, video.name)
        images += 2 * len(np.unique(np.concatenate(clips)))
        for indices in clips:
            rgb = read_frames(video.path, indices)
            later = read_frames(video.path, np.minimum(indices + 2, n - 1))
            earlier = read_frames(video.path, np.maximum(indices - 2, 0))
            expected = []
            for frames in (rgb, difference_image(later, earlier)):
                every = [small(normalize(resize(f[None], 16), small.mean, small.std)) for f in frames]
                expected.append(torch.cat(every))
            owner, label, rows = next(found)
            assert (owner, label) == (index, video.label)
            torch.testing.assert_close(rows, torch.cat(expected, 1), rtol=1e-5, atol=1e-6)
    assert next(found, None) is None
    assert (extraction.frames, extraction.n_extracted, extraction.n_reused) == (images, 5, 0)


def test_a_second_run_decodes_nothing(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(catalog, configure(), small)
    monkeypatch.setattr(decoding, "read_video", None)
    second = run(catalog, configure(), small)
    assert (second.frames, second.n_extracted, second.n_reused) == (0, 0, 5)
    assert list((configure().features.store / "leases").iterdir()) == []
    assert all(torch.equal(a, b) for a, b in zip(rows_of(first), rows_of(second), strict=True))


def test_only_a_new_stream_is_extracted(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    rgb = run(catalog, configure(), small)
    both = run(catalog, configure(clip={"streams": ("difference", "rgb")}), small)
    assert both.frames == rgb.frames
    assert both.features.dim == 10
    assert all(torch.equal(a, b[:, 5:]) for a, b in zip(rows_of(rgb), rows_of(both), strict=True))


def test_features_do_not_depend_on_what_else_is_extracted(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    together = rows_of(run(catalog, configure("a"), small))
    reverse = Catalog(catalog.class_names, catalog.videos[::-1], catalog.folds)
    backwards = rows_of(run(reverse, configure("b", shard_videos=1, workers=2), small))[::-1]
    assert all(torch.equal(a, b) for a, b in zip(together, backwards, strict=True))


def test_a_video_under_another_path_is_known(
    catalog: Catalog, folders: list[Path], small: Backbone, configure: Configure, tmp_path: Path
) -> None:
    run(catalog, configure(), small)
    moved = [Path(shutil.copytree(path, tmp_path / "elsewhere" / path.name)) for path in folders]
    videos = tuple(
        type(video)(f"other {video.name}", video.label, path=path)
        for video, path in zip(catalog.videos, moved, strict=True)
    )
    assert run(Catalog(catalog.class_names, videos, catalog.folds), configure(), small).n_reused == 5
    config = configure(clip={"sampling": "random"})  # drawn by the video's name, so no longer the same
    assert run(catalog, config, small).n_extracted == 5
    assert run(Catalog(catalog.class_names, videos, catalog.folds), config, small).n_extracted == 5


def test_videos_of_equal_content_are_extracted_once(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    shutil.rmtree(catalog.videos[1].path)
    shutil.copytree(catalog.videos[0].path, catalog.videos[1].path)
    extraction = run(catalog, configure(), small)
    assert (extraction.n_extracted, extraction.n_reused) == (4, 1)
    rows = rows_of(extraction)
    assert torch.equal(rows[0], rows[1])


def test_another_backbone_s_features_are_its_own(
    catalog: Catalog, small: Backbone, another: Backbone, configure: Configure
) -> None:
    first = run(catalog, configure(), small)
    second = run(catalog, configure(), another)
    assert second.n_extracted == 5
    assert not any(torch.equal(a, b) for a, b in zip(rows_of(first), rows_of(second), strict=True))


def change_one_bit(backbone: Backbone) -> Backbone:
    weight = next(backbone.network.parameters()).data
    weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(torch.inf))
    return Backbone(backbone.network, name=backbone.name, feature_dim=5, input_size=backbone.input_size)


@pytest.mark.parametrize("changed", ["nothing", "weight", "transform", "decoder", "sampling", "stride", "precision"])
def test_what_changes_the_values_is_extracted_again_and_nothing_else_is(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    run(catalog, configure(), small)
    clip = {"sampling": {"sampling": "uniform"}, "stride": {"stride": 2}}.get(changed)
    config = configure(clip=clip)
    if changed == "precision":
        precise = config.backbone.model_copy(update={"precision": "bf16"})
        config = config.model_copy(update={"backbone": precise})
    elif changed in ("transform", "decoder"):
        monkeypatch.setattr(keys, f"{changed.upper()}_VERSION", "next")
    again = run(catalog, config, change_one_bit(small) if changed == "weight" else small)
    expected = (0, 5) if changed == "nothing" else (5, 0)
    assert (again.n_extracted, again.n_reused) == expected


def test_a_lost_index_costs_no_extraction(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    config = configure()
    first = run(catalog, config, small)
    (config.features.store / "index.sqlite").unlink()
    again = run(catalog, config, small)
    assert (again.n_extracted, again.n_reused) == (0, 5)
    assert all(torch.equal(a, b) for a, b in zip(rows_of(first), rows_of(again), strict=True))


def test_what_was_written_before_a_kill_is_not_done_again(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = rows_of(run(catalog, configure("other"), small))
    seen: list[int] = []

    def killed(*arguments: object) -> torch.Tensor:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    original = extract.embed_clips
    with monkeypatch.context() as patched:
        patched.setattr(extract, "embed_clips", killed)
        with pytest.raises(KeyboardInterrupt):
            run(catalog, configure(), small)
    again = run(catalog, configure(), small)
    assert (again.n_reused, again.n_extracted) == (2, 3)  # shards of 2 videos: the third was lost
    assert all(torch.equal(a, b) for a, b in zip(rows_of(again), undisturbed, strict=True))


def break_video(path: Path, how: str) -> None:
    if how == "missing":
        shutil.rmtree(path)
    elif how == "empty file":
        shutil.rmtree(path)
        path.write_bytes(b"")
    elif how == "garbage":
        shutil.rmtree(path)
        path.write_bytes(b"garbage" * 100)
    else:
        (path / "frame000002.jpg").write_bytes(b"garbage")


@pytest.mark.parametrize(("many", "said"), [(1, True), (10**6, False)])
def test_who_extracts_much_hears_of_the_faster_engine(
    catalog: Catalog, small: Backbone, configure: Configure, many: int, said: bool, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(extract, "MANY_IMAGES", many)
    with caplog.at_level(logging.INFO):
        run(catalog, configure(workers=0), small)
    assert ("backbone.engine 'onnx'" in caplog.text) == said


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", ["missing", "empty file", "garbage", "corrupt frame"])
def test_a_bad_video_is_left_out_and_named(
    catalog: Catalog, small: Backbone, configure: Configure, how: str, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    break_video(catalog.videos[3].path, how)
    config = configure(workers=workers).model_copy(
        update={"dataset": configure().dataset.model_copy(update={"max_bad_share": 0.2})}
    )
    with caplog.at_level(logging.WARNING):
        extraction = run(catalog, config, small)
    assert extraction.bad.keys() == {3}
    assert str(catalog.videos[3].path) in extraction.bad[3]
    assert extraction.features.video.tolist() == [0, 1, 2, 4]
    assert (extraction.n_extracted, extraction.n_reused) == (4, 0)
    assert "1 of 5 videos cannot be read" in caplog.text
    assert extraction.bad[3] in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", ["missing", "empty file", "garbage"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_too_many_videos_that_do_not_open_are_an_error_before_anything_is_extracted(
    catalog: Catalog, small: Backbone, configure: Configure, how: str, workers: int, known: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    break_video(catalog.videos[1].path, how)
    monkeypatch.setattr(decoding, "read_video", None)
    for _ in range(1 + known):  # the second time, their digests are kept
        with pytest.raises(
            WorkError, match=r"1 of 5 videos cannot be read, dataset\.max_bad_share allows 5%.*\n.*v1: "
        ):
            run(catalog, configure(workers=workers), small)


def test_what_the_store_knows_is_not_opened_again(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(catalog, configure(workers=0), small)
    monkeypatch.setattr(first_look, "look_at", None)
    assert run(catalog, configure(workers=0), small).n_reused == 5
    (catalog.videos[2].path / "frame000001.jpg").touch()
    with pytest.raises(TypeError):
        run(catalog, configure(workers=0), small)


def test_too_many_bad_videos_are_an_error_that_keeps_the_rest(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    break_video(catalog.videos[1].path, "corrupt frame")
    with pytest.raises(WorkError, match=r"1 of 5 videos cannot be read, dataset\.max_bad_share allows 5%[\s\S]*v1: "):
        run(catalog, configure(), small)
    good = Catalog(catalog.class_names, (catalog.videos[0], *catalog.videos[2:]), (Fold("1", (0, 2), (1, 3)),))
    assert run(good, configure(), small).n_reused == 4


def test_no_readable_video_is_an_error_whatever_the_share(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    for video in catalog.videos:
        break_video(video.path, "missing")
    everything = configure().dataset.model_copy(update={"max_bad_share": 1.0})
    with pytest.raises(WorkError, match="5 of 5 videos"):
        run(catalog, configure().model_copy(update={"dataset": everything}), small)


def test_an_unforeseen_failure_of_the_decoder_costs_one_video(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, *rest: object) -> object:
        if path == catalog.videos[0].path:
            raise ZeroDivisionError("strange")
        return original(path, *rest)

    original = decoding.read_video
    monkeypatch.setattr(decoding, "read_video", fail)
    tolerant = configure().dataset.model_copy(update={"max_bad_share": 0.5})
    extraction = run(catalog, configure().model_copy(update={"dataset": tolerant}), small)
    assert "ZeroDivisionError: strange" in extraction.bad[0]


def tolerant(config: Config) -> Config:
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"max_bad_share": 0.5})})


def replace_folder(path: Path, other: Path) -> None:
    shutil.rmtree(path)
    shutil.copytree(other, path)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_video_replaced_after_it_was_digested_is_not_kept_under_the_digest_of_the_other(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It is replaced right before or right after it is decoded; the next start extracts what is there."""
    victim, other = catalog.videos[0].path, catalog.videos[3].path
    shutil.copytree(other, other.with_name("copy"))
    config = tolerant(configure())
    read = decoding.read_video

    def replacing(path: Path, *rest: Any) -> Any:
        if path != victim:
            return read(path, *rest)
        found = read(path, *rest) if moment == "after" else None
        replace_folder(victim, other.with_name("copy"))
        return read(path, *rest) if found is None else found

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "read_video", replacing)
        extraction = run(catalog, config, small)
    assert extraction.bad.keys() == {0}
    assert "v0: changed or replaced while it was extracted: start again" in extraction.bad[0]
    again = run(catalog, config, small)
    assert (again.n_extracted, again.n_reused, again.bad) == (0, 5, {})  # its content is that of video 3
    rows = rows_of(again)
    assert torch.equal(rows[0], rows[3])


def test_a_link_that_is_turned_elsewhere_while_a_video_is_decoded_changes_nothing(
    catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before and after, the same file lies at the video's path: only its own place tells what was decoded."""
    (tmp_path / "away").mkdir()
    shutil.copytree(catalog.videos[3].path, tmp_path / "away" / "v0")
    link, here = tmp_path / "link", catalog.videos[0].path.parent
    link.symlink_to(here, target_is_directory=True)
    config, read = configure(), decoding.read_video
    plain = rows_of(run(catalog, config, small))[0]
    linked = dataclasses.replace(catalog.videos[0], path=link / "v0")
    turned = dataclasses.replace(catalog, videos=(linked, *catalog.videos[1:]))

    def turning(path: Path, *rest: Any) -> Any:
        link.unlink()
        link.symlink_to(tmp_path / "away", target_is_directory=True)
        found = read(path, *rest)
        link.unlink()
        link.symlink_to(here, target_is_directory=True)
        return found

    monkeypatch.setattr(decoding, "read_video", turning)
    other = config.features.model_copy(update={"store": tmp_path / "other", "workers": 0})
    extraction = run(turned, config.model_copy(update={"features": other}), small)
    assert not extraction.bad
    assert torch.equal(rows_of(extraction)[0], plain)


def test_a_video_replaced_between_digest_and_decoding_is_noticed_and_one_that_was_only_touched_is_used(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    config = tolerant(configure())
    contents = read_contents(catalog, config)
    frame = catalog.videos[0].path / "frame000001.jpg"
    times = frame.stat()
    shutil.copy2(catalog.videos[3].path / "frame000001.jpg", frame)
    os.utime(frame, ns=(times.st_atime_ns, times.st_mtime_ns))
    for touched in catalog.videos[1].path.iterdir():
        os.utime(touched, (0, 0))
    extraction = extract_features(catalog, config, small, "cpu", progress=False, contents=contents)
    assert extraction.bad.keys() == {0}
    assert run(catalog, config, small).n_extracted == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_in_the_place_of_a_frame_costs_its_video(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    (catalog.videos[0].path / "frame000002.jpg").unlink()
    os.mkfifo(catalog.videos[0].path / "frame000002.jpg")
    config = tolerant(configure())
    assert "frame000002.jpg: not a regular file" in run(catalog, config, small).bad[0]


def segfault() -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # without the traceback that pytest would print
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        (segfault, "the decoder crashed (SIGSEGV)"),
        (lambda: os._exit(3), "the decoder crashed (exit code 3)"),
        (lambda: time.sleep(600), "the decoder hangs: given up after 1.5 s; see features.limits.timeout"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_or_a_hang_of_the_decoder_costs_one_video(
    catalog: Catalog,
    small: Backbone,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[], object],
    reason: str,
    workers: int,
) -> None:
    undisturbed = rows_of(run(catalog, configure("other"), small))

    def read(path: Path, *rest: object) -> object:
        return fail() if path == catalog.videos[1].path else original(path, *rest)

    original = decoding.read_video
    monkeypatch.setattr(decoding, "read_video", read)
    tolerant = configure().dataset.model_copy(update={"max_bad_share": 0.2})
    config = configure(workers=workers, limits=LimitSettings(timeout=1.5)).model_copy(update={"dataset": tolerant})
    extraction = run(catalog, config, small)
    assert extraction.bad == {1: f"{catalog.videos[1].path}: {reason}"}
    assert extraction.features.video.tolist() == [0, 2, 3, 4]
    assert all(torch.equal(a, b) for a, b in zip(rows_of(extraction), undisturbed[:1] + undisturbed[2:], strict=True))


def test_a_frame_of_absurd_size_is_refused(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    with pytest.raises(WorkError, match=r"5 of 5.*[\s\S]*32x24, 768 pixels; features\.limits\.pixels allows 767"):
        run(catalog, configure(limits=LimitSettings(pixels=767)), small)


def test_an_image_size_that_the_backbone_cannot_take_is_an_error(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    small.network.insert(0, torch.nn.Conv2d(3, 3, 17))
    small.input_size = 64
    with pytest.raises(ConfigError, match=r"clip\.size: small cannot take images of side 16"):
        run(catalog, configure(clip={"size": 16}), small)


def test_features_that_are_not_finite_are_refused(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    next(small.parameters()).data.fill_(float("nan"))
    with pytest.raises(WorkError, match=r"'small' gave features that are not finite.*backbone\.weights"):
        run(catalog, configure(), small)


def test_the_store_records_what_the_backbone_saw(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    config = configure()
    run(catalog, config, small)
    store = FeatureStore(config.features.store)
    shards = list((config.features.store / "shards").iterdir())
    assert len(shards) == 3  # five videos, two a shard
    for shard in shards:
        assert store.read_header(shard.name)["provenance"]["trained_on"] == "nothing"
        assert store.read_header(shard.name)["provenance"]["backbone"] == "small"


def test_one_video_alone_gets_the_features_that_it_has_in_the_store(
    catalog: Catalog, small: Backbone, configure: Configure
) -> None:
    config = configure(clip={"streams": ("rgb", "difference"), "sampling": "sliding", "hop": 3})
    stored = run(catalog, config, small).features
    for index, video in enumerate(catalog.videos):
        features, mask, clips = extract_video(video.path, video.name, config, small, "cpu")
        expected, expected_mask = stored.read(stored.clips_of([index]))
        assert torch.equal(features, expected)
        assert torch.equal(mask, expected_mask)
        assert len(clips.clips) == len(features)


def tolerate(config: Config) -> Config:
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"max_bad_share": 0.5})})


@pytest.fixture
def long_catalog(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """Its first video has 30 frames, of whose images eight are in memory at once."""
    monkeypatch.setattr(clips_of_a_video, "PART", 3 * SIZE * SIZE * 8)
    make_folder(tmp_path / "long", 30, 9)
    videos = (replace(catalog.videos[0], path=tmp_path / "long"), *catalog.videos[1:])
    return replace(catalog, videos=videos)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("hop", [None, 1])
def test_a_long_video_is_read_in_parts_and_has_the_features_of_one_that_is_not(
    long_catalog: Catalog,
    small: Backbone,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
    hop: int,
) -> None:
    config = configure(clip={"sampling": "sliding", "hop": hop}, workers=workers)
    sizes, embed = [], embedding.embed_next

    def note(backbone: Backbone, frames: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, Any]:
        sizes.append(len(frames))
        return embed(backbone, frames, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "embed_next", note)
        parts = run(long_catalog, config, small)
    assert parts.frames == 30 + sum(len(list(video.path.iterdir())) for video in long_catalog.videos[1:])
    assert sizes[:4] == [8, 8, 8, 6]
    monkeypatch.setattr(clips_of_a_video, "PART", 2**30)
    whole = run(long_catalog, configure(clip={"sampling": "sliding", "hop": hop}, store="other"), small)
    for one, other in zip(rows_of(parts), rows_of(whole), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_late_part_that_fails_costs_its_video(
    long_catalog: Catalog, small: Backbone, configure: Configure, workers: int
) -> None:
    (long_catalog.videos[0].path / "frame000025.jpg").write_bytes(b"no picture")
    found = run(long_catalog, tolerate(configure(clip={"sampling": "sliding"}, workers=workers)), small)
    assert list(found.bad) == [0]
    assert "frame000025.jpg: cannot be decoded" in found.bad[0]
    assert found.n_extracted == 4


def test_a_video_that_changes_between_its_parts_is_not_extracted(
    long_catalog: Catalog, small: Backbone, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = decoding.read_part

    def replaced(source: Any, indices: Any, *rest: Any) -> Any:
        (long_catalog.videos[0].path / "frame000030.jpg").touch()
        return read(source, indices, *rest)

    monkeypatch.setattr(decoding, "read_part", replaced)
    found = run(long_catalog, tolerate(configure(clip={"sampling": "sliding"}, workers=0)), small)
    assert "changed or replaced while it was extracted" in found.bad[0]
