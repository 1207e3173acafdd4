"""Magica, two of its workflows and an instant, for the tests of what it answers."""

from flowport.domain.models import App
from flowport.providers.magica.api import Magica

MAGICA = Magica()
NOW = 1_785_000_000.0
SHOT = App("magica", "wf_abc123", "Product shot", is_own=True, price_credits=None)
TEMPLATE = App("magica", "product-shot", "Product shot", is_own=False, price_credits=None)
