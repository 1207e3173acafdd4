"""How much of many things fits into few bytes: as many of them as possible, each as fully as possible. Pure."""

import json
from collections.abc import Sequence
from typing import Any


def choose_forms(sizes: Sequence[Sequence[int]], budget: int) -> list[int]:
    """Return which form each thing is shown in, for the leading ones that are shown at all.

    Args:
        sizes: For each thing the bytes of its forms, from the shortest to the fullest.
        budget: What all together may take.
    """
    chosen: list[int] = []
    for forms in sizes:
        if forms[0] > budget:
            break
        budget -= forms[0]
        chosen.append(0)
    for form in range(1, max(map(len, sizes), default=0)):
        for place, before in enumerate(chosen):
            more = sizes[place][form] - sizes[place][before]
            if before == form - 1 and more <= budget:
                budget -= more
                chosen[place] = form
    return chosen


def count_bytes(value: Any) -> int:
    """Return how long a value of JSON is on the wire, or a little more."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
