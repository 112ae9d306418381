"""What Opspawn does to a process that is its own, and never to one that only imports it."""

from __future__ import annotations

import gc

#: New objects until Python looks for cycles among them: more than some hundred runs in flight are made of. And how
#: often it looks so until it looks at the middle-aged, and at the old. Python's own are 700, 10, 10.
_THRESHOLDS = (100_000, 20, 20)


def settle_in() -> None:
    """Call what is loaded by now permanent, so that the search for cyclic garbage leaves it out, and search less often.

    A run leaves no cycles behind, but the few hundred that are in flight are thousands of objects: with Python's own
    numbers the search went through them again and again, for a sixth of all processor time, and a full one, over all
    that is imported, let everything stand still for up to 80 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
