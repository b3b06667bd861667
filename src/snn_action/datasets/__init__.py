"""One module a dataset: its settings and ``build``; the registry names them."""

from snn_action.core import registry


def list_datasets(pattern: str = "*") -> list[str]:
    """Names of datasets that match a pattern such as ``"ucf*"``: this package's and those of plug-ins."""
    return registry.list_items("dataset", pattern)


__all__ = ["list_datasets"]
