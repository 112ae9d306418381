"""A store that is simple enough to be obviously right: what every other store is compared with.

    store = ModelStore(now=clock.time)

It keeps all promises of `opspawn.contracts.store` in plain dictionaries, and looks at everything each time it is asked.
For one event loop, without threads; nothing is durable. Time passes as `now` says, in seconds since 1970.
"""

from __future__ import annotations

from opspawn.testing.store_model.claiming import Claiming
from opspawn.testing.store_model.reading import Reading
from opspawn.testing.store_model.writing import Writing


class ModelStore(Writing, Claiming, Reading):
    """See `opspawn.contracts.store.Store` for what each method promises."""

    name = "model"
