"""The original 2020 project's files: its configuration is translated, its pickles are read and written."""

from snn_action.seed_format.translate import is_seed_config, translate

__all__ = ["is_seed_config", "translate"]
