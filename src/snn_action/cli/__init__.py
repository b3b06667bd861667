"""The command line: one module a group of commands."""

from snn_action.cli.commands import main

__all__ = ["main"]
