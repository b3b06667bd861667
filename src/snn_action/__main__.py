"""``python -m snn_action``: the same as ``snn-action``, for ``torchrun -m snn_action``."""

from snn_action.cli import main

if __name__ == "__main__":
    main()
