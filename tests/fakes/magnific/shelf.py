"""The apps on offer, which tests may change under a running client as others do at the real provider."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, islice

from flowport.sandbox.apps import APPS, AppInput, InputType, SandboxApp
from flowport.sandbox.web import Refused
from tests.fakes.magnific.generated import generate_app


class Shelf:
    """Every app in the order of the lists."""

    def __init__(self) -> None:
        """Start with the sandbox's own apps."""
        self._apps = {app.id: app for app in APPS}
        self._numbers = count()

    @property
    def apps(self) -> tuple[SandboxApp, ...]:
        """All apps in their order."""
        return tuple(self._apps.values())

    def get(self, app_id: str) -> SandboxApp | None:
        """Return the app with this id, or None."""
        return self._apps.get(app_id)

    def find(self, app_id: str) -> SandboxApp:
        """Return the app with this id; raises `Refused` with 400, in a switch's words, when it does not exist."""
        if app_id not in self._apps:
            raise Refused(400, f"app: there is no app {ascii(app_id)[:80]}")
        return self._apps[app_id]

    def add_generated(self, amount: int) -> None:
        """Put so many new apps behind the others; none is like an earlier one."""
        for number in islice(self._numbers, amount):
            app = generate_app(number)
            self._apps[app.id] = app

    def rename(self, names: Mapping[str, str]) -> None:
        """Give apps other names, by id."""
        for app_id, name in names.items():
            self._apps[app_id] = replace(self.find(app_id), name=name)

    def price(self, credits_by_id: Mapping[str, int]) -> None:
        """Give apps other prices, by id."""
        for app_id, cost_credits in credits_by_id.items():
            self._apps[app_id] = replace(self.find(app_id), cost_credits=cost_credits)

    def require(self, keys: Mapping[str, str]) -> None:
        """Give apps one more input, by id: a required text with this key."""
        for app_id, key in keys.items():
            app = self.find(app_id)
            entry = AppInput(key, InputType.TEXT, key.replace("_", " ").capitalize())
            self._apps[app_id] = replace(app, inputs=(*app.inputs, entry))

    def delete(self, app_ids: Sequence[str]) -> None:
        """Take apps away."""
        for app_id in dict.fromkeys(app_ids):
            del self._apps[self.find(app_id).id]

    def reorder(self, app_ids: Sequence[str]) -> None:
        """Put these apps first, in this order; the others keep theirs."""
        first = {app_id: self.find(app_id) for app_id in app_ids}
        self._apps = {**first, **{app_id: app for app_id, app in self._apps.items() if app_id not in first}}

    def reset(self) -> None:
        """Go back to the sandbox's own apps."""
        self._apps = {app.id: app for app in APPS}
        self._numbers = count()
