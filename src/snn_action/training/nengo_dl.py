"""Weights of the original project: NengoDL's parameter files are told apart from ours and refused in words."""

import zipfile
from pathlib import Path

from snn_action.core.errors import ConfigError


def check_weights(path: str | Path) -> None:
    """Refuse a parameter file of NengoDL (``sim.save_params``: an ``.npz``, its ending left out in ``SNN_weights``).

    Raises:
        ConfigError: the file is one of NengoDL, or the named file is missing and one of NengoDL stands beside it.
    """
    path = Path(path)
    beside = path.with_name(f"{path.name}.npz")
    found = beside if not path.exists() and beside.is_file() else path
    if _is_npz(found):
        raise ConfigError(
            f"{found}: a parameter file of NengoDL, as the original project saved them; these cannot be read yet. "
            "Train once more (SNN_trainer.do_SNN_training: true), then name the run's checkpoints/last.ckpt in "
            "pickle_locations.SNN_weights"
        )


def _is_npz(path: Path) -> bool:
    try:
        if not path.is_file() or not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # a damaged one
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)
