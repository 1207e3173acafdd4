"""Apps for tests of pure modules: a plain one, and generated hostile ones."""

from typing import Any

from hypothesis import strategies as st

from flowport.domain.models import App, Input, InputKind, JsonValue, Option, Scalar

WILD_TEXT = st.text(alphabet=st.characters(), max_size=60) | st.sampled_from(
    [
        "",
        " ",
        '"',
        "\u202eabc",
        "a\u200bb",
        "Text #1",
        "x" * 300,
        "é" * 90,
        "input-4050c3f3-8a26-4953-97a8-cb97bceb4816-1",
    ]
)
SCALARS: st.SearchStrategy[Scalar] = (
    WILD_TEXT | st.booleans() | st.integers() | st.floats() | st.sampled_from([10**400, 2, 2.0, "2", True, "true"])
)
JSON_VALUES: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WILD_TEXT, inner, max_size=3)
)
BOUNDS = st.none() | st.floats() | st.integers(-5, 5).map(float)


def build_input(kind: InputKind, run_key: str = "field", **fields: Any) -> Input:
    """Return an optional input without a label whose id is made of its run key."""
    known: dict[str, Any] = {"label": "", "is_required": False} | fields
    return Input(id=f"id-{run_key}", run_key=run_key, kind=kind, **known)


def build_select(*values: Scalar, labels: tuple[str, ...] = (), run_key: str = "style", **fields: Any) -> Input:
    """Return a select input; labels are the values' text unless given."""
    names = labels or tuple(str(value) for value in values)
    options = tuple(Option(value, label) for value, label in zip(values, names, strict=True))
    return build_input(InputKind.SELECT, run_key, options=options, **fields)


def build_app(*inputs: Input, **fields: Any) -> App:
    """Return an app named "Sketch to Realism" that costs 5 credits."""
    known: dict[str, Any] = {"name": "Sketch to Realism", "price_credits": 5.0} | fields
    return App(provider="magnific", id="uqzQLDr2Aw", is_own=False, inputs=inputs, **known)


SENDABLE_TEXT = WILD_TEXT.filter(lambda text: text.isascii() or text.encode(errors="ignore").decode() == text)
SENDABLE_SCALARS: st.SearchStrategy[Scalar] = (
    SENDABLE_TEXT | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
OPTIONS = st.builds(Option, value=SENDABLE_SCALARS, label=WILD_TEXT)
INPUTS = st.builds(
    Input,
    id=WILD_TEXT,
    run_key=SENDABLE_TEXT,
    kind=st.sampled_from(InputKind),
    label=WILD_TEXT,
    is_required=st.booleans(),
    default=JSON_VALUES,
    options=st.lists(OPTIONS, max_size=6).map(tuple),
    minimum=BOUNDS,
    maximum=BOUNDS,
    is_list=st.booleans(),
    max_length=st.none() | st.integers(-1, 2**40),
    max_items=st.none() | st.integers(-1, 2**40),
    is_open=st.booleans(),
)
DISTINCT_INPUTS = st.lists(INPUTS, max_size=6, unique_by=(lambda item: item.id, lambda item: item.run_key)).map(tuple)
APPS = st.builds(
    App,
    provider=st.just("magnific"),
    id=WILD_TEXT,
    name=WILD_TEXT,
    is_own=st.booleans(),
    price_credits=st.none() | st.floats(),
    inputs=DISTINCT_INPUTS,
)
