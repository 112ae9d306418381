"""Has what has expired leave the files of the long-term memory, now and then, in each process that uses one."""

from __future__ import annotations

import asyncio
import random

from loguru import logger

from opspawn import details
from opspawn.agentkit.memories import Memories
from opspawn.contracts.clock import Clock

#: How often a process looks whether its memory is in use, and how long it then waits between two purges, in seconds:
#: a memory may have to write large files anew for it.
LOOK_S = 60.0
EVERY_S = 3600.0


async def keep_memory(memories: Memories, clock: Clock, *, look_s: float = LOOK_S, every_s: float = EVERY_S) -> None:
    """Endless; nothing in virtual time, nor while nobody has asked for the memory, which is not opened for this.

    Failures are logged, and the next time comes.
    """
    if clock.virtual:
        return
    while True:
        await asyncio.sleep(look_s * random.uniform(0.8, 1.0))
        if (memory := memories.opened) is None:
            continue
        try:
            if count := await memory.purge():
                details.info("Of the memory what had expired is gone from the files: {}.", count)
        except Exception as error:  # a plugin's
            logger.bind(error_type="memory").warning("What has expired stays in the memory for now: {}", error)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.0))
