"""Several processes on one store, and processes that are killed at any step."""

import logging
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from snn_action.backbones import Backbone
from snn_action.config import Config
from snn_action.datasets.catalog import Catalog
from snn_action.features.extraction import decoding, extract, sharing
from snn_action.features.extraction.extract import Extraction, extract_features
from snn_action.features.extraction.locks import Locks
from snn_action.features.extraction.needs import Contents
from snn_action.features.extraction.sharing import Sharing, cut_blocks, own_place
from snn_action.features.store import store as store_module
from snn_action.features.store.store import FeatureStore
from snn_action.features.store.unfinished import unfinished

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks and kills")
Configure = Callable[..., Config]
FORK = multiprocessing.get_context("fork") if os.name == "posix" else None


def run(catalog: Catalog, config: Config, backbone: Backbone) -> Extraction:
    return extract_features(catalog, config, backbone, "cpu", progress=False)


def values(extraction: Extraction) -> torch.Tensor:
    return extraction.features.read(range(len(extraction.features)))[0]


def start(function: Callable[..., Any], *arguments: Any) -> Any:
    process = FORK.Process(target=function, args=arguments)
    process.start()
    return process


def shards_of_keys(folder: Path) -> Counter[str]:
    store = FeatureStore(folder)
    names = [path.name for path in (folder / "shards").glob("*.safetensors")]
    found = Counter(entry["key"] for name in names for entry in store.read_header(name)["entries"])
    store.close()
    return found


def tolerant(config: Config) -> Config:
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"max_bad_share": 0.5})})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(sharing, "PATIENCE", 0.05)


def test_blocks_are_the_same_whoever_cuts_them(catalog: Catalog) -> None:
    keys = {index: {"rgb": f"k{index}", "difference": f"d{index}"} for index in range(5)}
    keys[3] = keys[1]  # equal content
    known = Contents(["digest"] * 5, ["state"] * 5, frozenset(), {})
    blocks = cut_blocks(catalog, keys, known, 2)
    assert [[job.video.name for job in block.jobs] for block in blocks] == [["v0", "v1"], ["v2", "v4"]]
    assert cut_blocks(catalog, keys, known, 2) == blocks
    others = cut_blocks(catalog, {**keys, 4: {"rgb": "other"}}, known, 2)
    assert others[0].name == blocks[0].name
    assert others[1].name != blocks[1].name


@pytest.mark.parametrize(("rank", "world", "place"), [(None, None, 0), (0, 4, 0), (1, 4, 2), (3, 4, 7), (2, 3, 6)])
def test_a_rank_begins_at_its_share(monkeypatch, rank, world, place):
    for name, value in (("RANK", rank), ("WORLD_SIZE", world), ("TORCHELASTIC_RUN_ID", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, str(value))
    assert own_place(10) == place


def test_a_rank_does_what_other_ranks_leave(catalog, small, configure, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    written: list[str] = []
    write = FeatureStore.write

    def note(store, stream, rows, provenance):
        written.extend(row.name for row in rows)
        write(store, stream, rows, provenance)

    monkeypatch.setattr(FeatureStore, "write", note)
    assert run(catalog, configure(), small).n_extracted == 5
    assert written == ["v2", "v3", "v4", "v0", "v1"]


def extract_apart(catalog: Catalog, config: Config, backbone: Backbone, barrier: Any, results: Any) -> None:
    def slowly(*arguments: Any) -> torch.Tensor:
        time.sleep(0.05)
        return embed(*arguments)

    def note(path: Path, *rest: Any) -> Any:
        tried.append(path.name)
        return read(path, *rest)

    tried: list[str] = []
    embed, extract.embed_clips = extract.embed_clips, slowly
    read, decoding.read_video = decoding.read_video, note
    barrier.wait()
    done = run(catalog, config, backbone)
    results.put((done.n_extracted, done.n_reused, done.bad, tried, values(done).tolist()))


def test_two_processes_share_a_store(catalog: Catalog, small: Backbone, configure: Configure) -> None:
    for frame in catalog.videos[2].path.iterdir():
        frame.write_bytes(b"garbage")
    undisturbed = run(catalog, tolerant(configure("other")), small)
    config = tolerant(configure(shard_videos=1, clip={"streams": ("rgb", "difference")}))
    barrier, results = FORK.Barrier(2), FORK.Queue()
    team = [start(extract_apart, catalog, config, small, barrier, results) for _ in range(2)]
    first, second = results.get(timeout=60), results.get(timeout=60)
    for process in team:
        process.join()
        assert process.exitcode == 0
    assert first[0] + second[0] == 4
    assert [one[0] + one[1] for one in (first, second)] == [4, 4]
    assert first[2] == second[2] == {2: undisturbed.bad[2]}
    assert sorted(first[3] + second[3]) == ["v0", "v1", "v2", "v3", "v4"]  # the bad one was tried once, too
    assert first[4] == second[4]
    assert torch.equal(torch.tensor(first[4])[..., :5], values(undisturbed))
    assert set(shards_of_keys(config.features.store).values()) == {1}
    assert [p.suffix for p in (config.features.store / "leases").iterdir()] == [".failed"]


STEPS = {
    "lock": (Locks, "take"),
    "network": (extract, "embed_clips"),
    "sync": (store_module, "_to_disk"),
    "index": (FeatureStore, "_add"),
    "refresh": (FeatureStore, "refresh"),
    "finish": (Sharing, "finish"),
    "end": (Locks, "end"),
    "assemble": (extract, "assemble"),
}


def die_at(step: str, call: int, after: bool, *arguments: Any) -> None:
    owner, name = STEPS[step]
    original, calls = getattr(owner, name), []

    def deadly(*given: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*given, **options)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)
    run(*arguments)


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_goes_on_and_ends_with_the_same(catalog, small, configure, step):
    """A chain of processes, each killed at one later occurrence of the step, before it or right after it."""
    clip = {"streams": ("rgb", "difference")}
    undisturbed = values(run(catalog, configure("other", clip=clip), small))
    config = configure(clip=clip)
    for call, after in ((1, False), (1, True), (2, False), (3, True)):
        process = start(die_at, step, call, after, catalog, config, small)
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        assert process.exitcode == -signal.SIGKILL or call > 1
    last = run(catalog, config, small)
    assert last.n_extracted + last.n_reused == 5
    assert torch.equal(values(last), undisturbed)
    found = shards_of_keys(config.features.store)
    assert len(found) == 10
    assert set(found.values()) == {1}
    assert list((config.features.store / "leases").iterdir()) == []
    assert list(config.features.store.rglob("*.part")) == []


def hold_first_block(catalog: Catalog, config: Config, backbone: Backbone, ready: Any) -> None:
    def stand_still(*_: Any) -> None:
        ready.set()
        time.sleep(600)

    extract.embed_clips = stand_still
    run(catalog, config, backbone)


def test_a_process_waits_for_another_one_and_takes_over_when_that_is_killed(
    catalog, small, configure, caplog, monkeypatch
):
    config, ready = configure(), FORK.Event()
    process = start(hold_first_block, catalog, config, small, ready)
    ready.wait(60)
    sleep = time.sleep

    def kill_after_a_while(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            process.kill()
            process.join()
        sleep(seconds)

    waited: list[float] = []
    monkeypatch.setattr(sharing.time, "sleep", kill_after_a_while)
    with caplog.at_level(logging.INFO):
        done = run(catalog, config, small)
    assert len(waited) == 3
    assert caplog.text.count(f"Waiting for process {process.pid} on ") == 1
    assert "(1 blocks)" in caplog.text
    assert (done.n_extracted, done.n_reused) == (5, 0)
    assert set(shards_of_keys(config.features.store).values()) == {1}


def test_a_process_that_stood_still_doubles_nothing(catalog, small, configure, monkeypatch):
    """Its lock was removed, as if the file system had none, and the other one has done the block."""
    config = configure()
    embed = extract.embed_clips
    calls: list[None] = []

    def stand_still(*arguments: Any) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 2:  # the first block is at work: its locks are now nobody's
            for path in (config.features.store / "leases").iterdir():
                path.unlink()
            process = start(run, catalog, config, small)
            process.join()
            assert process.exitcode == 0
        return embed(*arguments)

    monkeypatch.setattr(extract, "embed_clips", stand_still)
    run(catalog, config, small)
    assert len(shards_of_keys(config.features.store)) == 5
    assert set(shards_of_keys(config.features.store).values()) == {1}


def test_unfinished_shards_go_with_their_writers_only(catalog, small, configure):
    config = configure()
    process = start(die_at, "sync", 1, False, catalog, config, small)
    process.join()
    (abandoned,) = (config.features.store / "shards").glob("*.part")
    assert abandoned.with_name(f"{abandoned.name}.lock").exists()
    foreign = abandoned.with_name("rgb-1.safetensors.0123456789ab-1-1.part")  # of an earlier version
    old = abandoned.with_name("rgb-3.safetensors.0123456789ab-1-1.part")
    others = {abandoned.with_name(name) for name in ("nameless.part", "x.safetensors.part", "x.tmp", "video.mp4.part")}
    for path in (foreign, old, *others):
        path.write_bytes(b"")
    for path in (old, *others):
        os.utime(path, (0, 0))
    with unfinished(abandoned.with_name("rgb-2.safetensors")) as mine:
        mine.write_bytes(b"")
        run(catalog, config, small)
        left = set((config.features.store / "shards").iterdir()) - set(abandoned.parent.glob("*.safetensors"))
        assert left == {foreign, mine, mine.with_name(f"{mine.name}.lock"), *others}
    left = set((config.features.store / "shards").iterdir()) - set(abandoned.parent.glob("*.safetensors"))
    assert left == {foreign, *others}
