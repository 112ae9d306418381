"""New tasks that a claim of the same group gets: each is written once, as running.

A claim is asked for together with the commits that give it something to claim. If nothing else in its lanes can be
claimed, what they begin is all that it can get, and it gets the same as if it had looked behind them: the lowest ranks,
within its slots, from lanes that are open. So nothing is written as ready, looked for, and written again.
"""

from __future__ import annotations

from collections.abc import Sequence

from opspawn.contracts.store import Lease
from opspawn.stores import claims, tasks
from opspawn.stores.claims import Asked
from opspawn.stores.places import Lane
from opspawn.stores.tasks import PreparedPut
from opspawn.stores.transaction import Transaction


class Newborn:
    """A task that is made in this transaction: a row and nothing else, without places and labels.

    Attributes:
        columns: what is inserted. rank: None as long as it is not to be claimed. token: of its claim, if it has one.
    """

    __slots__ = ("columns", "lane", "rank", "token")

    def __init__(self, tx: Transaction, put: PreparedPut) -> None:
        task = put[1]
        self.columns = tasks.created(tx, put)
        self.lane: Lane = (task.queue, task.handler)
        self.rank = tasks.rank_if_ready(self.columns)
        self.token: int | None = None

    def lease(self, worker: str, lease_end: int) -> Lease:
        """Give it to a worker."""
        self.columns = tasks.claimed(self.columns, worker, lease_end)
        self.rank = None
        lease = Lease(tasks.made(self.columns))
        self.token = lease.token
        return lease


def serve(tx: Transaction, asked: Asked, born: Sequence[Newborn]) -> list[Lease] | None:
    """Lease what a claim gets of these; None if it must look for itself, once they are written."""
    lanes = claims.open_lanes(tx, asked)
    if lanes is None:
        return None
    claim = asked[0]
    ready = [(one.rank, number) for number, one in enumerate(born) if one.rank is not None and one.lane in lanes]
    ready.sort()
    ends = claims.lease_end(tx, claim)
    return [born[number].lease(claim.worker, ends) for _, number in ready[: claim.slots]]
