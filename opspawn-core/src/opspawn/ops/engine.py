"""What callers do with durable work: accept it, talk to it, decide about it, read it. The running of it is the
`Worker`'s.
"""

from __future__ import annotations

from opspawn.ops.accepting import Accepting
from opspawn.ops.deciding import Deciding
from opspawn.ops.doubts import Doubts
from opspawn.ops.questions import Answering
from opspawn.ops.reading import Reading
from opspawn.ops.signals import Signalling


class Engine(Accepting, Deciding, Doubts, Signalling, Answering, Reading):
    """Durable work on a store. `accepts` checks handler and input before anything is recorded."""
