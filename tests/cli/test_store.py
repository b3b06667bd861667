"""``snn-action store ...`` on a store that was extracted from videos."""

import json
from pathlib import Path

import pytest

BROKEN = f"rgb-{'0' * 32}.safetensors"


@pytest.fixture
def config(command, video_config) -> Path:
    path = video_config()
    code, _, told = command("extract", "-c", path)
    assert code == 0, told
    return path


@pytest.fixture
def shard(config) -> Path:
    (path,) = (config.parent / "store" / "shards").iterdir()
    return path


def test_bare_store_shows_its_commands(command):
    _, out, err = command("store")
    assert all(name in out + err for name in ("info", "verify", "prune", "merge"))


def test_info(command, config, shard):
    code, out, _ = command("store", "info", "-c", config)
    assert code == 0
    assert "12 videos, 12 clips, 96 rows" in out
    assert f"{shard.stat().st_size / 1024:.1f} KiB in 1 shards" in out
    assert "rgb by tiny" in out
    assert command("store", "info", shard.parents[1])[1] == out
    (shard.parent / "notes.txt").write_text("")
    (shard.parent / BROKEN).write_text("")
    (shard.parent / "x\x1b[2J.safetensors").symlink_to(shard)
    out = command("store", "info", "-c", config)[1]
    assert "foreign: notes.txt" in out
    assert f"broken: {BROKEN}" in out
    assert r"foreign: x\x1b[2J.safetensors: a link" in out


def test_verify_names_a_flipped_byte_and_the_next_extraction_mends_it(command, config, shard, tmp_path):
    assert command("store", "verify", "-c", config)[:2] == (0, "1 shards: 1 whole, 0 broken\n")
    content = shard.read_bytes()
    shard.write_bytes(content[:-2] + bytes([content[-2] ^ 4]) + content[-1:])
    code, out, err = command("store", "verify", "-c", config, "--json", tmp_path / "report.json")
    assert (code, out) == (1, "1 shards: 0 whole, 1 broken\n")
    assert shard.name in err
    assert "--remove" in err
    names = json.loads((tmp_path / "report.json").read_text())["shards"][0]["videos"]
    assert len(names) == 12
    assert all(name in err for name in names)
    assert shard.exists()
    assert command("store", "verify", shard.parents[1], "--remove")[0] == 1
    assert not shard.exists()
    assert (shard.parents[1] / "removed" / shard.name).exists()
    assert "removed: 1 files that were taken out" in command("store", "info", "-c", config)[1]
    assert "12 extracted" in command("extract", "-c", config)[1]
    assert command("store", "verify", "-c", config)[0] == 0


def test_a_report_that_cannot_be_written_is_noticed_beforehand(command, shard, tmp_path):
    for words in (("store", "verify", shard.parents[1]), ("check-videos", tmp_path / "videos")):
        code, out, err = command(*words, "--json", tmp_path / "nowhere" / "report.json")
        assert (code, out) == (2, "")
        assert "there is no folder" in err
        assert "nowhere" in err


def test_prune_claims_nothing_that_it_cannot_do_and_names_what_stops_it(command, shard):
    (shard.parent / BROKEN).write_text("")
    (shard.parents[1] / "removed").write_text("")
    code, out, err = command("store", "prune", shard.parents[1], "--apply")
    assert (code, out) == (1, "")
    assert f"{BROKEN}: cannot be moved" in err


def test_what_is_not_proved_broken_is_named_and_left(command, shard):
    """A foreign file, a folder, a link, and shards of another format and without right."""
    folder, content = shard.parent, shard.read_bytes()
    (folder / "model.safetensors").write_bytes(b"weights of somebody")
    (folder / f"rgb-{'1' * 32}.safetensors").mkdir()
    (folder / f"rgb-{'2' * 32}.safetensors").symlink_to(shard)
    (folder / f"rgb-{'3' * 32}.safetensors").write_bytes(content.replace(rb"format\": 1", rb"format\": 2"))
    before = {path.name for path in folder.iterdir()}
    for words in (("verify", "--remove"), ("prune", "--apply")):
        code, out, err = command("store", words[0], folder.parent, words[1])
        assert code == (1 if words[0] == "verify" else 0)
        assert "of another format (2)" in out + err
        assert {path.name for path in folder.iterdir()} == before
    assert all(f"left alone: {name}" in out for name in before - {shard.name})
    assert all(name in command("store", "info", folder.parent)[1] for name in before - {shard.name})


def test_prune_says_first_and_keeps_what_a_configuration_needs(command, config, shard):
    other = config.with_name("other.json")
    other.write_text(json.dumps(json.loads(config.read_text()) | {"clip": {"frames": 5}}))
    assert command("extract", "-c", other)[0] == 0
    assert len(list(shard.parent.iterdir())) == 2
    code, out, _ = command("store", "prune", "-c", config)
    assert (code, "would remove 0 videos" in out) == (0, True)
    code, out, _ = command("store", "prune", "-c", config, "--keep-config", other)
    assert (code, f"would remove: {shard.name}: not needed" in out, "--apply" in out) == (0, True, True)
    assert shard.exists()
    both = command("store", "prune", "-c", config, "--keep-config", other, "--keep-config", config, "--apply")
    assert (both[0], shard.exists()) == (0, True)
    assert command("store", "prune", "-c", config, "--keep-config", other, "--apply")[0] == 0
    assert not shard.exists()
    assert "0 extracted" in command("extract", "-c", other)[1]


def test_prune_keeps_the_versions_that_a_configuration_draws_from(command, config, shard):
    varied = config.with_name("varied.json")
    augment = {"redraw": True, "frames": {"versions": 1}}
    raw = json.loads(config.read_text())
    varied.write_text(json.dumps(raw | {"training": {**raw["training"], "augment": augment}}))
    assert command("extract", "-c", varied)[0] == 0
    assert len(list(shard.parent.iterdir())) == 3
    command("store", "prune", "-c", config, "--keep-config", varied, "--apply")
    assert len(list(shard.parent.iterdir())) == 3
    command("store", "prune", "-c", config, "--keep-config", config, "--apply")
    assert [*shard.parent.iterdir()] == [shard]


def test_prune_does_not_guess_what_an_unreadable_video_needs(command, config, shard, video_set):
    next(video_set.rglob("*.avi")).unlink()
    lost = next(video_set.rglob("*.avi"))
    lost.unlink()
    lost.symlink_to("nowhere")
    code, _, err = command("store", "prune", "-c", config, "--keep-config", config, "--apply")
    assert code != 0
    assert lost.name in err
    assert shard.exists()


def test_merge(command, config, shard, tmp_path):
    code, out, _ = command("store", "merge", shard.parents[1], "--into", tmp_path / "new")
    assert (code, "1 shards taken in whole" in out) == (0, True)
    code, out, _ = command("extract", "-c", config, "-o", f"features.store={tmp_path / 'new'}")
    assert "0 extracted" in out
    code, _, err = command("store", "merge", tmp_path / "new", "-c", config, "--into", tmp_path / "new")
    assert (code, "not both" in err) == (2, True)
    code, _, err = command("store", "info", tmp_path)
    assert (code, "not a feature store" in err) == (2, True)
