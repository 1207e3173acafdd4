"""Instants as the provider writes them."""

from datetime import UTC, datetime


def format_instant(instant_at: float | None) -> str | None:
    """Write an instant as ISO 8601 with `+00:00`, in whole seconds; None stays None."""
    if instant_at is None:
        return None
    return datetime.fromtimestamp(instant_at, UTC).isoformat(timespec="seconds")
