"""A prepared call as the run that the store is to accept."""

import secrets
from typing import Final

from flowport.domain.models import Run, RunState
from flowport.runs.prepare import PreparedCall
from flowport.runtime.clock import Clock
from flowport.store.process_lock import ProcessLock

_ID_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without the letters and digits that people mistake for one another."""

_ID_LENGTH: Final = 10


def build_run(call: PreparedCall, owner: str, clock: Clock, process: ProcessLock) -> Run:
    """Return the run that is to be accepted for a call, with an id of its own and its price held back."""
    price, boot = call.app.price_credits, clock.boot_time()
    return Run(
        id=draw_id("run_"),
        account_id=call.account_id,
        owner=owner,
        provider=call.app.provider,
        app_id=call.app.id,
        app_name=call.app_name,
        tool_name=call.tool_name,
        arguments_json=call.arguments_json,
        raw_digest=call.raw_digest,
        canonical_digest=call.canonical_digest,
        state=RunState.ACCEPTED,
        accepted_at=clock.now(),
        process_id=process.process_id,
        price_credits=price,
        reserved_credits=price or 0.0,
        boot_id=boot.boot_id if boot else "",
        accepted_boot_seconds=boot.seconds if boot else None,
    )


def draw_id(prefix: str) -> str:
    """Return a new id of a run or a batch."""
    # One number is drawn and written in the alphabet: a draw for each letter is a system call each.
    base = len(_ID_ALPHABET)
    number = secrets.randbelow(base**_ID_LENGTH)
    return prefix + "".join(_ID_ALPHABET[number // base**place % base] for place in range(_ID_LENGTH))
