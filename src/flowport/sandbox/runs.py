"""The runs of the sandbox, from pending to their end, and what is forgotten."""

import json
import logging
import secrets
import string
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from flowport.sandbox.apps import APPS, Outcome, SandboxApp, StepFailed, Values, parse_inputs
from flowport.sandbox.files import Files
from flowport.sandbox.storage import Storage
from flowport.sandbox.web import Refused, format_instant

_LOG = logging.getLogger(__name__)
_ID_LETTERS: Final = string.ascii_letters + string.digits
_DROP_ORPHANS: Final = "DELETE FROM files WHERE run_id IS NOT NULL AND run_id NOT IN (SELECT id FROM runs)"
_OVER: Final = "status NOT IN ('pending', 'running')"


@dataclass(frozen=True, slots=True)
class Retention:
    """What a sandbox keeps of runs that are over and of uploads."""

    kept_seconds: float = 7 * 86_400.0
    max_bytes: int = 200_000_000  # of results and uploads together
    max_runs: int = 2000


class Runs:
    """All runs, each with a task of its own. Those under way when the process ends continue at the next start."""

    def __init__(
        self, storage: Storage, files: Files, tasks: TaskGroup, limiter: anyio.CapacityLimiter, speed: float
    ) -> None:
        """Use what the storage holds; runs live in `tasks` and work in threads of `limiter`."""
        self._storage = storage
        self._files = files
        self._tasks = tasks
        self._limiter = limiter
        self._speed = speed

    async def accept(self, app: SandboxApp, inputs: Mapping[str, Any]) -> str:
        """Start a run and return its id; raises `Refused`, with 422 for its inputs. Equal requests are different runs."""
        values = await self._parse(app, inputs)
        run_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(10))
        try:
            with self._storage.write() as changes:
                values_of_row = (run_id, app.id, "pending", time.time(), json.dumps(inputs))
                changes.execute("INSERT INTO runs VALUES (?, ?, ?, ?, NULL, NULL, NULL, ?)", values_of_row)
        except OSError as exc:
            raise Refused(400, f"The sandbox cannot store the run ({exc.strerror})") from exc
        self._tasks.start_soon(self._follow, run_id, app, values)
        return run_id

    def resume(self) -> None:
        """Continue the runs that were under way when the last process ended."""
        apps = {app.id: app for app in APPS}
        with self._storage.write() as changes:
            # The last process may have been killed between a result and the end of its run.
            changes.execute(f"DELETE FROM files WHERE run_id IN (SELECT id FROM runs WHERE NOT ({_OVER}))")  # noqa: S608
        for row in self._storage.read(f"SELECT * FROM runs WHERE NOT ({_OVER})"):  # noqa: S608 - a constant
            if row["app"] in apps:
                self._tasks.start_soon(self._follow, row["id"], apps[row["app"]], None)
            else:
                problem = "The sandbox was started again and no longer has this app"
                self._update(row["id"], status="failed", completed_at=time.time(), error_message=problem)

    def describe(self, run_id: str) -> dict[str, Any] | None:
        """Describe a run with its seven fields (Magnific API 1.0.0, get-run); None for an unknown one."""
        row = self._get(run_id)
        if row is None:
            return None
        has_result = row["status"] in {"completed", "completed_with_errors"}
        instants = {name: format_instant(row[name]) for name in ("started_at", "completed_at")}
        names = {"run_id": run_id, "status": row["status"], "app_id": row["app"], "error_message": row["error_message"]}
        return {**names, **instants, "result": self._files.describe_run(run_id) if has_result else None}

    async def _follow(self, run_id: str, app: SandboxApp, values: Values | None) -> None:
        row = self._get(run_id)
        if row["started_at"] is None:
            await self._wait(row["accepted_at"], app.pending_seconds)
            self._update(run_id, status="running", started_at=time.time())
        await self._wait(self._get(run_id)["started_at"], app.running_seconds)
        outcome = await self._work(run_id, app, values, row["inputs"])
        bad_end = "completed_with_errors" if outcome.products else "failed"
        status = bad_end if outcome.problem else "completed"
        try:
            for product in outcome.products:
                self._files.add(run_id, product)
        except OSError as exc:
            status, outcome = "failed", Outcome((), f"The sandbox cannot store the result ({exc.strerror})")
        self._update(
            run_id, status=status, completed_at=time.time(), error_message=outcome.problem or None, inputs="{}"
        )

    async def _wait(self, since: float, seconds: float) -> None:
        """Wait for what is left of a time; a clock that was set back makes it no longer."""
        seconds *= self._speed
        await anyio.sleep(min(seconds, max(0.0, since + seconds - time.time())))

    async def _work(self, run_id: str, app: SandboxApp, values: Values | None, inputs: str) -> Outcome:
        from flowport.sandbox.engine import produce  # noqa: PLC0415 - loads Pillow, which an idle sandbox does without

        try:
            values = values or await self._parse(app, json.loads(inputs))
            return await anyio.to_thread.run_sync(
                produce, app.recipe, values, limiter=self._limiter, abandon_on_cancel=True
            )
        except (StepFailed, Refused) as exc:
            return Outcome((), exc.message if isinstance(exc, Refused) else str(exc))
        except Exception:  # noqa: BLE001 - the boundary of the task: only this run fails
            _LOG.exception("The sandbox's run %s broke", run_id)
            return Outcome((), "Node 'engine' failed: internal error")

    async def _parse(self, app: SandboxApp, inputs: Mapping[str, Any]) -> Values:
        """Decode the pictures in a thread; the files that inputs name are read here, where the database is."""
        media = {name for entry in app.inputs if entry.is_media for name in (entry.key, app.build_input_id(entry))}
        texts = [value.strip() for name, value in inputs.items() if name in media and isinstance(value, str)]
        named = {text: self._files.find(text) for text in texts}
        return await anyio.to_thread.run_sync(parse_inputs, app, inputs, named.get, limiter=self._limiter)

    def _get(self, run_id: str) -> Any:
        rows = self._storage.read("SELECT * FROM runs WHERE id = ?", run_id)
        return rows[0] if rows else None

    def _update(self, run_id: str, **fields: Any) -> None:
        names = ", ".join(f"{name} = ?" for name in fields)
        try:
            with self._storage.write() as changes:
                changes.execute(f"UPDATE runs SET {names} WHERE id = ?", (*fields.values(), run_id))  # noqa: S608
        except OSError as exc:
            _LOG.warning("The state of the sandbox's run %s was not stored: %s", run_id, exc.strerror)


def tidy(storage: Storage, retention: Retention, now: float, needed_runs: Collection[str] = ()) -> None:
    """Forget what is old, then the oldest beyond the limits, but no run under way or needed, and no upload with a good link."""
    needed = json.dumps(sorted(needed_runs))
    droppable = f"{_OVER} AND id NOT IN (SELECT value FROM json_each(?))"  # noqa: S608 - a constant
    try:
        with storage.write() as changes:
            before = now - retention.kept_seconds
            changes.execute(f"DELETE FROM runs WHERE completed_at < ? AND {droppable}", (before, needed))  # noqa: S608
            changes.execute("DELETE FROM files WHERE run_id IS NULL AND created_at < ?", (before,))
            changes.execute(_DROP_ORPHANS)
            candidates = changes.execute(
                f"SELECT completed_at, id, 1 FROM runs WHERE {droppable} UNION ALL "  # noqa: S608
                "SELECT created_at, id, 0 FROM files WHERE run_id IS NULL AND link_expires_at <= ? ORDER BY 1",
                (needed, now),
            ).fetchall()
            for _, candidate_id, is_run in candidates:
                sum_bytes = changes.execute("SELECT coalesce(sum(length(content)), 0) FROM files").fetchone()[0]
                count = changes.execute("SELECT count(*) FROM runs").fetchone()[0]
                if sum_bytes <= retention.max_bytes and count <= retention.max_runs:
                    break
                table = "runs" if is_run else "files"
                changes.execute(f"DELETE FROM {table} WHERE id = ?", (candidate_id,))  # noqa: S608
                changes.execute(_DROP_ORPHANS)
    except OSError as exc:
        _LOG.warning("The sandbox's folder was not tidied: %s", exc.strerror)
