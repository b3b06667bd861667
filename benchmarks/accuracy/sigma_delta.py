"""What a sigma-delta coded backbone costs and reaches: accuracy against operations of the whole chain.

    python benchmarks/accuracy/sigma_delta.py NAME=CONFIG... --calibrate-on CONFIG [--networks mobilenet_v2 ...]
        [--weights FOLDER] [--errors 0.1 0.3 ...]

Each set is run with the backbone as it is, and coded with thresholds for each error of the features. Thresholds are
chosen on videos of another set (``--calibrate-on``), so that no test video has a part in them. The heads are the mean
of the clip's features (the baseline of every run) and the model of the configuration.

Operations of a clip, means over videos of the test: those of the chain (backbone and head) that are effective, both
numbers not zero, MACs and ACs together, as a share of the dense ones of the uncoded chain.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the repository

from benchmarks.lib.table import headline, make_table, write_section
from snn_action.config import Config, load_config
from snn_action.evaluation.energy.account import Account, compare
from snn_action.evaluation.energy.layers import Layer, total
from snn_action.evaluation.energy.targets import load_target
from snn_action.runs import pipeline
from snn_action.runs.coding import calibrate_coding

BITS = 8
TARGETS = ("45nm", "loihi2")
HEADER = (
    *("network", "coded", "baseline, video %", "head, video %", "of the features, error %", "changes sent %"),
    *("effective, M", "of dense %", "updates, M", *(f"{target}, mJ" for target in TARGETS)),
)


def run(config: Config) -> tuple[float, float, Account]:
    """Accuracy of the baseline and of the head, and what was counted."""
    done = pipeline.run(config)
    shutil.rmtree(done.folder)  # its weights may be gigabytes
    metrics: dict[str, Any] = done.metrics
    return headline(metrics, of="baseline"), headline(metrics), Account.from_dict(metrics["energy"])


def describe(account: Account, dense: float) -> list[str]:
    layers: list[Layer] = [*account.head(), *(account.backbone or ())]
    effective = total(layers, "effective_macs") + total(layers, "effective_acs")
    coded = [layer for layer in account.backbone or () if layer.kind == "neurons"]
    updates = total(coded, "neuron_updates")
    sent = f"{100 * total(coded, 'spikes') / updates:.1f}" if updates else "-"
    chains = [compare(account, load_target(target), BITS).chain for target in TARGETS]
    done = [f"{effective / 1e6:.0f}", f"{100 * effective / dense:.1f}", f"{updates / 1e6:.0f}" if updates else "-"]
    return [sent, *done, *("-" if chain is None else f"{chain / 1e3:.3g}" for chain in chains)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=CONFIG")
    parser.add_argument("--calibrate-on", required=True, type=Path, metavar="CONFIG")
    parser.add_argument("--networks", nargs="+", default=["mobilenet_v2"])
    parser.add_argument("--weights", type=Path, help="folder of weights by name; without it the default ones")
    parser.add_argument("--videos", type=int, default=4, help="that thresholds are chosen on")
    parser.add_argument("--errors", nargs="+", type=float, default=[0.1, 0.2, 0.3, 0.5])
    arguments = parser.parse_args()

    for given in arguments.sets:
        name, _, path = given.partition("=")
        rows: list[list[str]] = []
        for network in arguments.networks:
            weights = "default" if arguments.weights is None else arguments.weights / f"{network}.safetensors"
            common = [f"backbone.name={network}", f"backbone.weights={weights}", "backbone.engine=torch"]
            with tempfile.TemporaryDirectory() as folder:
                common += [f"save_dir={folder}"]
                baseline, head, account = run(load_config(Path(path), common))
                layers = [*account.head(), *(account.backbone or ())]
                dense = total(layers, "dense_macs") + total(layers, "effective_acs")
                accuracies = [f"{100 * baseline:.1f}", f"{100 * head:.1f}"]
                rows.append([f"`{network}`", "no", *accuracies, "-", *describe(account, dense)])
                print(*rows[-1], file=sys.stderr, flush=True)
                for error in arguments.errors:
                    file = Path(folder) / f"{error}.json"
                    found = calibrate_coding(
                        load_config(arguments.calibrate_on, common), file, max_error=error, videos=arguments.videos
                    )
                    coded = ["backbone.coding=sigma_delta", f"backbone.thresholds={file}"]
                    baseline, head, account = run(load_config(Path(path), [*common, *coded]))
                    accuracies = [f"{100 * baseline:.1f}", f"{100 * head:.1f}", f"{100 * found.error:.1f}"]
                    rows.append([f"`{network}`", "yes", *accuracies, *describe(account, dense)])
                    print(*rows[-1], file=sys.stderr, flush=True)
        config, other = load_config(Path(path)), load_config(arguments.calibrate_on)
        text = (
            "A frozen CNN as it is, and as a network of sigma-delta neurons that sends changes from frame to frame; "
            f"thresholds chosen on {arguments.videos} videos of another set (`{other.dataset.type}`), for the error in "
            "the fifth column there. Operations and estimates are those of a clip through backbone and head, numbers "
            f"of 8 bits, memory counted. The clip: {config.clip.frames} frames, streams "
            f"{', '.join(config.clip.streams)}, each coded by itself. The head: "
            f"`{config.model.model_dump()['type']}`. *Baseline*: the mean of the clip's features."
        )
        write_section(f"Sigma-delta coded backbones: {name}", text, make_table(HEADER, rows))


if __name__ == "__main__":
    main()
