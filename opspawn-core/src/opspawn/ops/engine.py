"""What callers do with durable work: accept it, wait for it, decide about it, read it. The running of it is the
`Worker`'s.
"""

from __future__ import annotations

from opspawn.ops.accepting import Accepting
from opspawn.ops.deciding import Deciding
from opspawn.ops.doubts import Doubts
from opspawn.ops.reading import Reading


class Engine(Accepting, Deciding, Doubts, Reading):
    """Durable work on a store. `accepts` checks handler and input before anything is recorded."""
