"""Parameter files of NengoDL: they are told apart from checkpoints of ours and refused in words."""

import zipfile
from pathlib import Path

from snn_action.core.errors import ConfigError


def check_weights(path: str | Path) -> None:
    """Refuse a parameter file of NengoDL (``sim.save_params``: an ``.npz``, whose ending may be left out of ``path``).

    Raises:
        ConfigError: the file is one of NengoDL, or the named file is missing and one of NengoDL stands beside it.
    """
    path = Path(path)
    beside = path.with_name(f"{path.name}.npz")
    found = beside if not path.exists() and beside.is_file() else path
    if _is_npz(found):
        raise ConfigError(
            f"{found}: a parameter file of NengoDL (sim.save_params); these cannot be read yet. Train once more, then "
            "name the run's checkpoints/last.ckpt in its place"
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
