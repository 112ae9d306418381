"""Events that belong to no task: the deleting of them."""

from __future__ import annotations

from opspawn.contracts.store import Delete
from opspawn.errors import Conflict
from opspawn.stores import payloads
from opspawn.stores.transaction import Transaction

_SELECT = "SELECT data, position = (SELECT max(position) FROM events) FROM events "
_OF_NO_TASK = "WHERE position = ? AND task = 0 AND type <> ''"
_BLANK = (  # guard: a position is never given twice
    "UPDATE events SET type = '', level = 'info', error_type = NULL, agent = NULL, session = NULL, data = '{}' "
)


def delete(tx: Transaction, delete: Delete) -> int:
    """Remove the event at a position. Raises: Conflict: there is none, or it is a task's."""
    position = int(delete.id) if delete.id.isdecimal() and len(delete.id) < 19 else 0
    row = tx.execute(_SELECT + _OF_NO_TASK, (position,)).fetchone()
    if row is None or delete.expect != 0:
        raise Conflict(f"There is no event of no task at {delete.id!r}.")
    data, newest = row
    payloads.drop(tx, data)
    tx.execute((_BLANK if newest else "DELETE FROM events ") + _OF_NO_TASK, (position,))
    return 0
