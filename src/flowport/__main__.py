"""Run Flowport as `python -m flowport`."""

import sys

from flowport.cli import main

if __name__ == "__main__":
    sys.exit(main())
