"""Generate graphs of workflows as Magica may send them: plain, unusual and hostile ones."""

from typing import Any

from hypothesis import strategies as st

from flowport.domain.models import InputKind
from tests.support.definitions import HOSTILE_TEXT, NONSENSE, TEXT

_IDS = st.sampled_from(("text_field", "image_field", "a", "b/c", "ü ß", "%2F", "node", "seed")) | HOSTILE_TEXT
_TYPES = st.sampled_from(
    (*(kind.value for kind in InputKind), "file", "slider", "composite-select", "image[]", "textarea", "x")
)
_OPTIONS = st.lists(
    st.sampled_from(("warm", "cold", 1, 2.5, True)) | TEXT | st.fixed_dictionaries({"value": TEXT, "label": TEXT}),
    max_size=6,
)
_ODD = NONSENSE | HOSTILE_TEXT
_BOUNDS = st.sampled_from((0, 1, 2, 7.5, 4000, -3, 1e12)) | NONSENSE
_CUSTOM = st.lists(st.fixed_dictionaries({"id": _IDS, "type": _TYPES}), max_size=2) | NONSENSE
_FIELD = st.fixed_dictionaries(
    {"id": _IDS, "type": _TYPES},
    optional={
        "name": TEXT,
        "label": TEXT,
        "dataType": st.sampled_from(("string", "number", "boolean", "string[]")) | _ODD,
        "value": TEXT | _ODD | st.lists(TEXT, max_size=3),
        "default": _ODD,
        "required": st.booleans() | _ODD,
        "options": _OPTIONS | _ODD,
        "min": _BOUNDS,
        "max": _BOUNDS,
        "maxLength": _BOUNDS,
        "maxItems": _BOUNDS,
        "multiple": st.booleans(),
        "allowCustom": st.booleans(),
        "customFields": _CUSTOM,
        "config": st.fixed_dictionaries({"options": _OPTIONS}) | _ODD,
    },
)
_FIELDS = st.lists(_FIELD | _FIELD | _FIELD | _ODD, max_size=5)
_NODES = st.lists(
    st.fixed_dictionaries(
        {"id": _IDS, "type": st.sampled_from(("request", "request", "Request", "flux", "response"))},
        optional={"data": st.fixed_dictionaries({"fields": _FIELDS}) | _ODD, "requestFields": _FIELDS | _ODD},
    ),
    min_size=1,
    max_size=3,
)
GRAPHS: st.SearchStrategy[Any] = st.fixed_dictionaries({"nodes": _NODES}) | _FIELDS.map(
    lambda fields: {"nodes": [{"id": "n", "type": "request", "data": {"fields": fields}}]}
)
