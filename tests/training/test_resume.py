"""A training that is killed, at whatever moment, ends as one that was not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# One process imports everything and forks the trainings, which are killed: the import is paid once.
DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch

torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import snn_action.training.loop  # Fabric, which would else be imported by each training
from conftest import make_settings, train_small

out, mode = Path(sys.argv[2]), sys.argv[3]


def start(folder, before=lambda: None):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            before()
            model = train_small(folder, make_settings(epochs=9, schedule="constant", patience=3))
            torch.save(model.state_dict(), folder / "final.pt")
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return torch.load(folder / "final.pt"), lines


def check(folder, wanted):
    weights, lines = result(folder)
    assert lines == wanted[1], folder
    assert all(torch.equal(weights[key], wanted[0][key]) for key in wanted[0]), folder


def kill_before(number):
    count, replace = [0], os.replace

    def counted(*args, **kwargs):
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args, **kwargs)

    os.replace = counted


assert end(start(out / "whole")) == 0
wanted = result(out / "whole")
losses = [line["validation"]["loss"] for line in wanted[1]]
best = losses.index(min(losses))
assert 0 < best < len(losses) - 1, losses
kills = 0
if mode == "renames":
    # An epoch puts metrics.jsonl, best.ckpt where it is the best so far, and last.ckpt in place.
    renames = [3 if loss < min(losses[:epoch], default=1e9) else 2 for epoch, loss in enumerate(losses)]
    before, total = sum(renames[:best]), sum(renames)
    for number in [2, before + 1, before + 2, before + 3, before + 4, total]:
        folder = out / str(number)
        assert end(start(folder, lambda: kill_before(number))) == -signal.SIGKILL, number
        assert end(start(folder)) == 0
        check(folder, wanted)
        kills += 1
    assert end(start(out / "none", lambda: kill_before(total + 1))) == 0
else:
    moments = random.Random(1)
    for number in range(3):
        folder = out / str(number)
        code, patience = None, 0.3
        while code != 0:
            child = start(folder)
            time.sleep(moments.uniform(0, patience))
            patience *= 1.3  # a slow machine gets there too
            try:
                os.kill(child, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
            code = end(child)
            assert code in (0, -signal.SIGKILL), code
        check(folder, wanted)
print("kills", kills, "epochs", len(losses))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
@pytest.mark.parametrize("mode", ["renames", "moments"])
def test_a_killed_training_goes_on_to_the_same_weights_and_lines(tmp_path, mode):
    """Killed before each kind of file is put in place, and at drawn moments."""
    driver = subprocess.run(
        [sys.executable, "-c", DRIVER, str(HERE), str(tmp_path), mode], capture_output=True, text=True, check=False
    )
    assert driver.returncode == 0, driver.stderr[-3000:]
    assert int(driver.stdout.split()[1]) >= 3
