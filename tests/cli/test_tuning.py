import json

import pytest
from typer.testing import CliRunner

from snn_action.cli.commands import app
from snn_action.cli.tuning import read_duration
from snn_action.core.errors import ConfigError


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120)])
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5m", "ten", "5d", "1e3", "nan", "m", "9" * 40])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match="expected a time such as 90s, 10m or 2h"):
        read_duration(text)


def test_tune_writes_a_configuration_and_prints_a_table(features_file, write_config, tmp_path):
    path = write_config({"type": "features", "path": str(features_file)})
    words = ["tune", "-c", str(path), "--models", "lmu", "--trials", "1", "--folds", "2", "--no-test"]
    result = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "t")])
    assert result.exit_code == 0, result.output
    assert "mean_pool" in result.output
    assert json.loads((tmp_path / "t" / "tuned.json").read_text())["name"] == "test_tuned"
