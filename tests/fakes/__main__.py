"""Run the fakes as a process, and print how to reach them."""

import argparse
import secrets
import sys
from contextlib import suppress

import anyio

from flowport.sandbox.serve import SandboxAddresses
from tests.fakes.magnific.dialect import Dialect, Style
from tests.fakes.magnific.serve import MAGICA_PREFIX, serve
from tests.fakes.magnific.state import FakeOptions


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="tests.fakes", allow_abbrev=False)
    parser.add_argument("--key", default=secrets.token_urlsafe(24))
    parser.add_argument("--speed", type=float, default=1.0, help="multiplies how long runs take")
    parser.add_argument("--requests-per-minute", type=int, default=50, help="0 for no limit")
    parser.add_argument("--minute-seconds", type=float, default=60.0, help="how long the minute of that limit is")
    parser.add_argument("--style", choices=[*Style], default=Style.BOTH, help="the path families of Magnific")
    parser.add_argument("--quick", action="store_true", help="every run makes a picture of one pixel")
    flags = parser.parse_args()
    is_limited = flags.requests_per_minute > 0
    options = FakeOptions(
        flags.key,
        speed=flags.speed,
        is_quick=flags.quick,
        requests_per_minute=flags.requests_per_minute,
        minute_seconds=flags.minute_seconds,
        magica_requests_per_minute=60 if is_limited else 0,
        magica_requests_per_day=1000 if is_limited else 0,
        dialect=Dialect(Style(flags.style)),
    )

    def announce(addresses: SandboxAddresses) -> None:
        """Print the variables that let Flowport use them."""
        sys.stdout.write(
            f"MAGNIFIC_BASE_URL={addresses.api_url}\nMAGNIFIC_API_KEY={options.key}\n"
            f"MAGNIFIC_FILE_ORIGINS={addresses.files_url}\n"
            f"MAGICA_BASE_URL={addresses.api_url}{MAGICA_PREFIX}\nMAGICA_API_KEY={options.magica_key}\n"
            f"MAGICA_FILE_ORIGINS={addresses.files_url}\nCtrl-C ends it.\n"
        )
        sys.stdout.flush()

    with suppress(KeyboardInterrupt):
        anyio.run(serve, options, announce)


if __name__ == "__main__":
    main()
