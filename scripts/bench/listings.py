"""Apps as people build them, for measurements that need no provider."""

from flowport.catalog.listing import Listing
from flowport.catalog.names import build_property_names, build_tool_name
from flowport.catalog.schema import build_tool
from flowport.domain.models import App, Input, InputKind, Option


def build_listing(n: int) -> Listing:
    """Return an app like those that people build: a picture, a text, a number and a choice."""
    labels = [
        "The photograph that the picture is made from.",
        "What the finished picture is supposed to show",
        "How much of the photograph shall still remain",
        "The style in which the picture shall be drawn",
    ]
    inputs = (
        Input("i1", "image", InputKind.IMAGE, labels[0], is_required=True),
        Input("i2", "prompt", InputKind.TEXT, labels[1], is_required=True),
        Input("i3", "strength", InputKind.NUMBER, labels[2], is_required=False, default=0.5),
        Input(
            "i4",
            "style",
            InputKind.SELECT,
            labels[3],
            is_required=False,
            options=tuple(Option(value, value.title()) for value in ("photo", "ink", "watercolour")),
        ),
    )
    app = App("magnific", f"app{n:04}", f"Sketch to Realism {n}", is_own=False, price_credits=5, inputs=inputs)
    name = build_tool_name(app.name, app.id, taken=())
    names = build_property_names(inputs)
    return Listing(app, name, names, build_tool(app, tool_name=name, property_names=names, provider_title="Magnific"))
