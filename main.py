"""``python main.py -c configs/config.json``: the same as ``snn-action run -c configs/config.json``."""

import sys

from snn_action.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
