"""Listings, and a Magnific whose apps a test can change."""

from typing import Any

from flowport.catalog.listing import Listing
from flowport.domain.errors import Operation
from flowport.domain.models import App
from flowport.providers.interface import ApiRequest
from tests.support.scripted import Reply, build_answer

LIST_OWN, LIST_PUBLISHED = "/v1/ai/me/flows", "/v1/ai/flows"
PROMPT = {"id": "in-1", "api_key": "prompt", "type": "text", "label": "Prompt", "required": True}
DOWN = build_answer({"message": "down"}, 500)


def build_listing(app_id: str, name: str = "", *, is_own: bool = False, **fields: Any) -> Listing:
    """Return a listing whose tool is called like its id unless given."""
    app = App("magnific", app_id, name or app_id.upper(), is_own=is_own, price_credits=None)
    return Listing(app, fields.pop("tool_name", app_id), **fields)


def build_flow(app_id: str, name: str = "", price: float | None = 5, **fields: Any) -> dict[str, Any]:
    """Return an item of Magnific's lists."""
    metadata = {} if price is None else {"tool_metadata": {"total_cost": price}}
    return {"sqid": app_id, "name": name or f"App {app_id}", **metadata, **fields}


class Store:
    """What Magnific offers; it answers requests as long as nothing else is said for a path."""

    def __init__(self, *published: dict[str, Any], own: tuple[dict[str, Any], ...] = ()) -> None:
        self.own = list(own)
        self.published = list(published)
        self.inputs: dict[str, Any] = {}
        """The input definitions of an app by its id; one prompt unless given."""
        self.details: dict[str, dict[str, Any]] = {}
        """What an app's definition says besides its list item."""
        self.faults: dict[str, Reply] = {}
        """What comes back instead, by path."""
        self.is_down = False

    def __call__(self, request: ApiRequest) -> Reply:
        """Answer a request."""
        if self.is_down:
            return DOWN
        if request.path in self.faults:
            return self.faults[request.path]
        if request.operation is Operation.LIST_APPS:
            return build_answer({"data": self.own if "/me/" in request.path else self.published})
        app_id = request.path.rpartition("/")[2]
        item: dict[str, Any] = next(item for item in (*self.own, *self.published) if item.get("sqid") == app_id)
        inputs = self.inputs.get(app_id, [PROMPT])
        return build_answer({"data": {**item, **self.details.get(app_id, {}), "inputs": inputs}})


def build_apps(count: int) -> list[dict[str, Any]]:
    """Return so many published apps: a0, a1, ..."""
    return [build_flow(f"a{n}") for n in range(count)]
