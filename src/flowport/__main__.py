"""Run Flowport as `python -m flowport`."""

import sys

from flowport.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
