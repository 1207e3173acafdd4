"""Instants as Magica writes them."""

from datetime import UTC, datetime


def format_instant(instant_at: float | None) -> str | None:
    """Write an instant as ISO 8601 with `Z`, in milliseconds; None stays None."""
    if instant_at is None:
        return None
    return datetime.fromtimestamp(instant_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
