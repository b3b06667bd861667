"""A maker of finished run folders, consistent and the same at every call, without any training."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MakeRun = Callable[..., Path]


def fake_probabilities(labels: np.ndarray, classes: int, steps: int, skill: float, seed: int) -> np.ndarray:
    """Softmax courses (videos, steps, classes) that grow surer of the right class with time."""
    random = np.random.default_rng(seed)
    logits = np.cumsum(random.normal(0, 0.5, (len(labels), steps, classes)), axis=1)
    logits[np.arange(len(labels)), :, labels] += skill * np.sqrt(np.arange(1, steps + 1))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def score(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The four accuracies of one clip a video."""
    mean_right = float((probabilities.mean(1).argmax(-1) == labels).mean())
    return {
        "timestep": float((probabilities.argmax(-1) == labels[:, None]).mean()),
        "last": float((probabilities[:, -1].argmax(-1) == labels).mean()),
        "clip": mean_right,
        "video": mean_right,
    }


def course(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """Video accuracy after 1..T steps."""
    steps = probabilities.shape[1]
    return [float((probabilities[:, : t + 1].mean(1).argmax(-1) == labels).mean()) for t in range(steps)]


def count_classes(names: list[str], labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Right ones of each class."""
    result = {}
    for index, name in enumerate(names):
        videos, correct = int((labels == index).sum()), int(((labels == index) & (predicted == index)).sum())
        result[name] = {"correct": correct, "videos": videos, "accuracy": correct / videos if videos else None}
    return result


def thumbnails(steps: int, seed: int) -> np.ndarray:
    """Frames (T, 54, 72, 3) of a ball that rolls through a room."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:54, :72]
    room = np.stack([120 + rows, 110 + rows, 100 + columns], -1) + random.normal(0, 3, (54, 72, 1))
    frames = np.repeat(room[None], steps, 0)
    for t in range(steps):
        ball = (rows - 36) ** 2 + (columns - 6 - 60 * t / max(steps - 1, 1)) ** 2 < 60
        frames[t][ball] = (200, 70, 40)
    return frames.clip(0, 255).astype(np.uint8)


def write_run(
    folder: Path,
    names: list[str],
    *,
    videos: int = 12,
    steps: int = 16,
    epochs: int = 20,
    folds: int = 1,
    skill: float = 1.0,
    baseline: bool = True,
    frames: bool = True,
    spiking: bool = True,
    pairs: tuple[tuple[str, str], ...] = (),
    notes: tuple[str, ...] = (),
    bad: int = 0,
    seed: int = 0,
) -> Path:
    """A finished run folder with ``videos`` test videos of each class in each fold."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    labels = np.tile(np.repeat(np.arange(len(names)), videos), folds)
    model = fake_probabilities(labels, len(names), steps, skill, seed + 1)
    other = fake_probabilities(labels, len(names), steps, skill * 0.6, seed + 2)
    predicted, guessed = model.mean(1).argmax(-1), other.mean(1).argmax(-1)
    fold_of = np.repeat(np.arange(folds), len(names) * videos)
    top5 = np.argsort(-model.mean(1), axis=-1)[:, :5]

    metrics: dict[str, Any] = {
        "accuracy": score(model, labels),
        "top5": {"video": float((top5 == labels[:, None]).any(-1).mean())},
        "baseline": {
            **score(other, labels),
            "per_class": count_classes(names, labels, guessed),
            "anytime": course(other, labels),
        }
        if baseline
        else None,
        "per_class": count_classes(names, labels, predicted),
        "spikes": {"per_neuron_per_step": 0.0731, "per_clip": 5848.0, "neurons": 5000} if spiking else None,
        "operations": {
            "backbone": {"dense_macs": 4.82e9, "effective_macs": 3.11e9, "effective_acs": 0.0} if frames else None,
            "model": {
                "dense_macs": 8.1e6,
                "effective_macs": 1.25e6,
                "effective_acs": 734500.0,
                "neuron_updates": 80000.0,
                "state_updates": 8192.0,
            },
        },
        "seconds": {"extract": 31.25 if frames else None, "train": 412.7, "evaluate": 2.125},
        "videos_per_second": 48.25,
        "train_videos": 3 * len(labels),
        "test_videos": len(labels),
        "validation_videos": len(labels),
        "best_epoch": epochs - 5 if folds == 1 and epochs > 5 else None,
        "anytime": course(model, labels),
        "bad_videos": [{"video": f"broken/v_{i}.avi", "reason": "no frame could be decoded"} for i in range(bad)],
        "notes": list(notes),
        "pairs": [],
    }
    for pair in pairs:
        chosen = np.isin(labels, [names.index(name) for name in pair])
        metrics["pairs"].append(
            {
                "classes": list(pair),
                "model": float((predicted == labels)[chosen].mean()),
                "baseline": float((guessed == labels)[chosen].mean()) if baseline else None,
            }
        )
    if folds > 1:
        metrics["folds"] = [
            {
                "name": f"subject{k + 1}",
                "accuracy": score(model[fold_of == k], labels[fold_of == k]),
                "baseline": score(other[fold_of == k], labels[fold_of == k]) if baseline else None,
                "test_videos": int((fold_of == k).sum()),
            }
            for k in range(folds)
        ]
        for key, reduce in (("mean", np.mean), ("std", np.std)):
            metrics[key] = {
                part: {
                    kind: float(reduce([fold[part][kind] for fold in metrics["folds"]])) for kind in metrics["accuracy"]
                }
                for part in (("accuracy", "baseline") if baseline else ("accuracy",))
            }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2))

    with (folder / "metrics.jsonl").open("w") as file:
        for fold in range(folds):
            for epoch in range(epochs):
                sides = {}
                for side, lag in (("train", 0.0), ("validation", 0.05), ("test", 0.08)):
                    level = (1 - np.exp(-(epoch + 1) / 6)) * (1 - lag) + random.normal(0, 0.01)
                    level = float(np.clip(level, 0, 1))
                    sides[side] = {"loss": 2.3 * (1.05 - level), "timestep": 0.9 * level, "last": level, "clip": level}
                    sides[side]["video"] = level
                file.write(json.dumps({"fold": str(fold + 1), "epoch": epoch, "learning_rate": 1e-3, **sides}) + "\n")

    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fold", "video", "label", "predicted", "correct", "probability", "top5"])
        for i, label in enumerate(labels):
            writer.writerow(
                [
                    fold_of[i] + 1,
                    f"{names[label]}/v_{i:04d}.avi",
                    names[label],
                    names[predicted[i]],
                    int(predicted[i] == label),
                    f"{model[i].mean(0).max():.6f}",
                    int(label in top5[i]),
                ]
            )
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    with (folder / "confusion.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", *names])
        writer.writerows([name, *row] for name, row in zip(names, counts.tolist(), strict=True))

    arrays: dict[str, np.ndarray] = {"class_names": np.array(names)}
    chosen = np.linspace(0, len(labels) - 1, 3).astype(int)
    arrays["names"] = np.array([f"{names[labels[i]]}/v_{i:04d}.avi" for i in chosen])
    arrays["labels"] = labels[chosen]
    for place, i in enumerate(chosen):
        arrays[f"probabilities_{place}"] = model[i].astype(np.float32)
        if frames:
            arrays[f"frames_{place}"] = thumbnails(steps, place)
        if spiking:
            arrays["hidden_units"] = np.array(5000)
            arrays[f"spikes_{place}"] = random.poisson(0.3, (steps, 80)).astype(np.uint8)
    np.savez_compressed(folder / "examples.npz", **arrays)

    (folder / "config.json").write_text(
        json.dumps(
            {
                "name": "fake",
                "seed": seed,
                "dataset": {"type": "synthetic" if frames else "features", "split": "1" if folds == 1 else "all"},
                "clip": {"streams": ["rgb", "difference"]},
                "backbone": {"name": "mobilenet_v2"},
                "model": {"type": "ensemble_array", "gradient": "rate"} if spiking else {"type": "lstm"},
            },
            indent=2,
        )
    )
    (folder / "environment.json").write_text(
        json.dumps(
            {
                "snn_action": "0.1.0",
                "commit": "0123456789ab",
                "packages": {"torch": "2.13.0", "numpy": "2.3.0"},
                "cpus": 2,
                "gpus": [],
                "started": "2026-03-04T05:06:07+00:00",
            }
        )
    )
    return folder


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything in it and its report, for tests that only look; they are marked ``real_figures``."""
    from snn_action.report import write_report

    names = ["walk", "run", "sit_down", "stand_up"]
    folder = write_run(tmp_path_factory.mktemp("run") / "whole", names, pairs=(("sit_down", "stand_up"),), bad=3)
    write_report(folder)
    assert (folder / "figures" / "confusion.png").stat().st_size > 1000, "mark this test with real_figures"
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run folder in the test's own folder."""

    def make(name: str = "20260304-050607", names: list[str] | None = None, **options: Any) -> Path:
        return write_run(tmp_path / "fake" / name, names or ["walk", "run", "sit_down", "stand_up"], **options)

    return make
