"""What a team's worker is held against: as many jobs that do nothing, by Procrastinate and nothing else.

    python bare_jobs.py <database url> <jobs> <concurrency>

Prints the seconds that one worker takes for them as JSON. A hundred jobs go before them, so that nothing is loaded later.
"""

import asyncio
import json
import sys
import time
from typing import Final

import procrastinate
from procrastinate.types import JSONDict

WARM_UP: Final = 100
QUEUE: Final = "bare"


async def main(url: str, count: int, concurrency: int) -> None:
    """Execute all jobs, and print how long it took."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=10))
    done = 0

    @app.task(queue=QUEUE, name="nothing")
    async def do_nothing(n: int) -> None:  # noqa: ARG001 - what a job knows
        """Do nothing but count."""
        nonlocal done
        done += 1

    async def work(jobs: int) -> float:
        """Return the seconds that the worker takes for so many jobs, which wait already."""
        nonlocal done
        done = 0
        given: list[JSONDict] = [{"n": n} for n in range(jobs)]
        await do_nothing.batch_defer_async(*given)
        began = time.perf_counter()
        await app.run_worker_async(
            queues=[QUEUE], concurrency=concurrency, wait=False, delete_jobs="successful", install_signal_handlers=False
        )
        if done != jobs:
            raise RuntimeError(f"{done} of {jobs} jobs were executed")
        return time.perf_counter() - began

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        await work(WARM_UP)
        sys.stdout.write(json.dumps({"seconds": await work(count)}) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
