import numpy as np
import pytest
import torch

from snn_action.core.errors import ConfigError
from snn_action.training.nengo_dl import check_weights


def test_a_nengo_dl_parameter_file_is_refused_in_words(tmp_path):
    np.savez_compressed(tmp_path / "snn_params.npz", np.zeros(3), np.ones((2, 2)))
    for name in ("snn_params", "snn_params.npz"):  # the original leaves the ending out
        with pytest.raises(ConfigError, match=r"snn_params\.npz.*NengoDL.*last\.ckpt"):
            check_weights(tmp_path / name)
    (tmp_path / "snn_params.npz").rename(tmp_path / "renamed.ckpt")
    with pytest.raises(ConfigError, match="NengoDL"):
        check_weights(tmp_path / "renamed.ckpt")


def test_other_files_pass(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(2)}}, tmp_path / "last.ckpt")
    (tmp_path / "broken.ckpt").write_bytes(b"PK\x03\x04 no archive")
    for name in ("last.ckpt", "broken.ckpt", "missing.ckpt"):
        check_weights(tmp_path / name)
