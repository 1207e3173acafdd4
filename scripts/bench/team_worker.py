"""A worker of a team, on the instant provider, which is polled without pauses.

    python team_worker.py <home> <provider url> <database url> <saves: yes or no>

Prints a line when it has begun, and works until its standard input ends. With TEAM_WORKER_PROFILE it writes a profile there.
"""

import cProfile
import gc
import os
import sys
from pathlib import Path

import anyio
import anyio.to_thread
from instant import open_team

from flowport.cli.serve import SWITCH_SECONDS, YOUNG_OBJECTS


async def main() -> None:
    """Work until the input ends."""
    home, url, database_url, saves = sys.argv[1:]
    sys.setswitchinterval(SWITCH_SECONDS)
    async with open_team(Path(home), url, database_url, is_worker=True, should_save_outputs=saves == "yes"):
        # As the program does.
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


if __name__ == "__main__":
    if path := os.environ.get("TEAM_WORKER_PROFILE"):
        with cProfile.Profile() as profile:
            anyio.run(main)
        profile.dump_stats(path)
    else:
        anyio.run(main)
