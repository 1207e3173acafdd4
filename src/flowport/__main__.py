"""Run Flowport: as `flowport` and as `python -m flowport`."""

import importlib
import sys

from flowport.cli.startup import get_signal_code, prepare_process


def main() -> int:
    """Run the command that the arguments name and return the exit code."""
    prepare_process(get_signal_code(sys.argv[1:]))
    # Only now: it takes long enough for a Ctrl-C.
    code: int = importlib.import_module("flowport.cli.main").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
