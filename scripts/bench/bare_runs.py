"""What Flowport is held against: the requests of so many runs, made by nothing but the HTTP library and a loop.

    python bare_runs.py <api url> <key> <runs> <folder>

Prints the processor seconds of the runs as JSON. One run goes before them, so that nothing is loaded or compiled later.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
from bench_app import APP_ID, EVERY_SECONDS, FIRST_SECONDS, INPUTS


@dataclass(frozen=True)
class Job:
    """What every run needs."""

    client: httpx2.AsyncClient
    api_url: str
    headers: dict[str, str]
    folder: Path


async def main() -> None:
    """Carry out one run, then all the others side by side."""
    api_url, key, count, folder = sys.argv[1:]
    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=100)
    async with httpx2.AsyncClient(limits=limits, timeout=httpx2.Timeout(60.0, pool=None), trust_env=False) as client:
        job = Job(client, api_url, {"x-magnific-api-key": key}, Path(folder))
        await carry_out(job, 0)
        before = get_used_seconds()
        async with anyio.create_task_group() as tasks:
            for n in range(1, int(count) + 1):
                tasks.start_soon(carry_out, job, n)
        sys.stdout.write(json.dumps({"cpu_seconds": get_used_seconds() - before}) + "\n")


async def carry_out(job: Job, n: int) -> None:
    """Start a run, look at it until it is over, and download what it made."""
    path = f"{job.api_url}/v1/ai/flows/{APP_ID}/run"
    started = (await job.client.post(path, headers=job.headers, json={"inputs": INPUTS})).json()
    run_id, pause = started["workflow_run_identifier"], FIRST_SECONDS
    while True:
        await anyio.sleep(pause)
        answer = await job.client.get(f"{job.api_url}/v1/ai/flows/runs/{run_id}", headers=job.headers)
        look: dict[str, Any] = answer.json()["data"]
        if look["status"] == "completed":
            break
        pause = EVERY_SECONDS
    for item in look["result"]["images"]:
        await download(job.client, item["url"], job.folder / f"{n}-{item['id']}.png")


async def download(client: httpx2.AsyncClient, url: str, path: Path) -> None:
    """Write what lies at a URL to a file."""
    async with client.stream("GET", url) as response:
        with path.open("wb") as file:
            async for part in response.aiter_bytes():
                file.write(part)


def get_used_seconds() -> float:
    """Return the processor time of this process."""
    return time.process_time()


if __name__ == "__main__":
    anyio.run(main)
