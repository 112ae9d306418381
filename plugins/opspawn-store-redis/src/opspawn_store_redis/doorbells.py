"""arq as a doorbell: jobs without payload that tell a worker to look into the store, beside the list of `waker`.

arq's own settings are ours, since each of its ways to lose, repeat or starve work begins with a job that carries some:

* one function, whatever the queue; the job ends at once, and never runs a task: so nothing of arq's running set, its
  locks, tries or time-outs ever holds up or repeats work;
* a new id for each job, no result kept, one try, JSON and no pickle, a time-out of 30 s, expiry after 60 s;
* a doorbell for a queue at most every half second, since it is the second line, behind the list;
* at most 64 jobs wait in arq's queue, whoever rings, so that it does not grow while nobody is there to hear.

arq's `Worker` ends at the first fault of its connection; a supervisor makes it anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import Any
from uuid import uuid4

from arq.connections import ArqRedis
from arq.worker import Worker, func

from opspawn_store_redis import connections
from opspawn_store_redis.ending import end
from opspawn_store_redis.settings import ArqConfig
from opspawn_store_redis.telling import FIRST_PAUSE_S
from opspawn_store_redis.waker import NO_QUEUE, RedisWaker

FUNCTION = "opspawn_look"
_KEPT = 64
_POLL_S = 1.0
_TRIAL_POLL_S = 0.02
_DOORBELL_EVERY_S = 0.5
_EXPIRES_S = 60
_LIVED_S = 5.0
_GOODBYE_S = 1.0


class ArqWaker(RedisWaker):
    """See `opspawn.contracts.waker.Waker`; made like `RedisWaker`."""

    config: ArqConfig

    def __init__(self, config: ArqConfig) -> None:
        super().__init__(config)
        self.queue = f"arq:opspawn:{config.namespace}"
        self._arq = self._connect()
        self._silent_until: dict[str, float] = {}  # by queue; the list tells what arq does not
        self._worker: Worker | None = None
        logging.getLogger("arq").setLevel(logging.ERROR)  # it would tell of every doorbell, and of each that expired

    def _connect(self) -> ArqRedis:
        pool = connections.async_client(self.config).connection_pool
        return ArqRedis(
            pool, job_serializer=_dump, job_deserializer=json.loads, default_queue_name=self.queue
        )  # fmt: skip

    async def pass_on(self, queue: str) -> None:
        """Send a ring: by the list each time, by arq now and then."""
        if self._home.time() < self._silent_until.get(queue, 0.0):
            return await super().send(queue)
        self._silent_until[queue] = self._home.time() + _DOORBELL_EVERY_S
        return await self.send(queue)

    async def send(self, queue: str) -> None:
        """Tell other processes: by the list, and by arq."""
        await super().send(queue)
        await self._enqueue(queue, self.queue)

    async def _enqueue(self, queue: str, where: str) -> None:
        """A doorbell for a queue, in one of arq's."""
        job = uuid4().hex
        await self._arq.enqueue_job(FUNCTION, queue, _job_id=job, _queue_name=where, _expires=_EXPIRES_S)
        await self._arq.zremrangebyrank(where, 0, -_KEPT - 1)

    async def try_out(self) -> None:
        """Do what a ring does and what hears it, in queues for which nobody waits."""
        await super().try_out()
        trial = f"{self.queue}:{NO_QUEUE}"
        await self._enqueue(NO_QUEUE, trial)
        worker = self._new_worker(queue_name=trial, poll_delay=_TRIAL_POLL_S, burst=True)
        try:
            await worker.async_run()
        finally:
            await self._end(worker)

    def listeners(self) -> list[Any]:
        """The list, and arq's worker under its supervisor."""
        return [*super().listeners(), self._supervise()]

    async def _supervise(self) -> None:
        while True:
            pause = FIRST_PAUSE_S
            worker = self._worker = self._new_worker()
            began = self._home.time()
            try:
                await worker.async_run()
            except asyncio.CancelledError:
                if (own := asyncio.current_task()) is not None and own.cancelling():
                    raise
            except Exception as error:
                if self._home.time() - began > _LIVED_S:
                    self.telling.worked("arq")
                pause = self.telling.failed(error, "arq")
            finally:
                await self._end(worker)
            await asyncio.sleep(pause)

    def _new_worker(self, **options: Any) -> Worker:
        usual = {"queue_name": self.queue, "poll_delay": _POLL_S}
        return Worker(
            functions=[func(self._look, name=FUNCTION, keep_result=0, timeout=30, max_tries=1)],
            redis_pool=self._connect(),
            handle_signals=False,
            max_jobs=4,
            job_timeout=30,
            keep_result=0,
            max_tries=1,
            retry_jobs=False,
            health_check_interval=self.config.health_check_s,
            job_serializer=_dump,
            job_deserializer=json.loads,
            log_results=False,
            **{**usual, **options},
        )

    async def _look(self, ctx: dict[Any, Any], queue: str) -> None:
        """What a doorbell runs."""
        self.heard(queue)

    async def _end(self, worker: Worker) -> None:
        await end([worker.main_task, *worker.tasks.values()])
        if worker._pool is not None:
            pool = worker._pool
            worker._pool = None
            with suppress(Exception):  # of a server that hangs, in a moment
                async with asyncio.timeout(_GOODBYE_S):
                    await pool.delete(worker.health_check_key)
            with suppress(Exception):
                await pool.aclose(close_connection_pool=True)

    async def aclose(self) -> None:
        """End arq's worker, and let go of everything. Idempotent."""
        await super().aclose()
        with suppress(Exception):
            await self._arq.aclose(close_connection_pool=True)


def _dump(job: dict[str, Any]) -> bytes:
    """A doorbell, or what arq makes of one that expired, which holds an exception."""
    return json.dumps(job, default=repr).encode()
