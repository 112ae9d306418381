"""Running an evaluation: cases beside one another, bounded, each result written down as soon as it is there."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opspawn.agentkit.plain import plain_json
from opspawn.contracts.model import Usage
from opspawn.errors import ConfigError, InvalidInput, OpspawnError
from opspawn.testing.captured import Events
from opspawn.testing.evals.cases import Case, Evaluation, Outcome, Score
from opspawn.testing.evals.report import Finished, Report, read_results

if TYPE_CHECKING:
    from opspawn.agentkit.kit import Kit


async def evaluate(
    evaluation: Evaluation,
    *,
    parallel: int = 4,
    results: Path | None = None,
    again: bool = False,
    kit: Kit | None = None,
    model: str | None = None,
    on_result: Callable[[Finished], None] | None = None,
) -> Report:
    """Ask the agent every case, in memory, and score the answers.

    Args:
        parallel: how many cases run at once, at least 1.
        results: a file of results. Cases that stand there with the same digest and without an error are not run again;
            each other one is added as soon as it is finished.
        again: whether to run them all the same.
        kit: where models and planners named by text come from; by default `Kit.load()`.
        model: another model than the agent's.
        on_result: told of each result, kept ones first.

    Raises: ConfigError: the agent's model or planner is not to be had; the file cannot be read or written.
        InvalidInput: a scorer cannot make sense of what a case expects.
    """
    if parallel < 1:
        raise InvalidInput(f"{parallel} cases at once are none.", remedy="Take 1 or more.")
    known = {} if results is None or again else _known(results)
    run = _Run(evaluation, kit, model, results, on_result)
    places = asyncio.Semaphore(parallel)

    async def one(case: Case) -> Finished:
        kept = known.get(case.name)
        if kept is not None and kept.digest == run.digest(case) and kept.error is None:
            if on_result is not None:
                on_result(kept)
            return kept
        async with places:
            return await run.finish(case)

    tasks = [asyncio.ensure_future(one(case)) for case in evaluation.cases]
    try:
        return Report(await asyncio.gather(*tasks), evaluation.name)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _known(results: Path) -> dict[str, Finished]:
    return {one.name: one for one in read_results(results)} if results.exists() else {}


class _Run:
    def __init__(
        self,
        evaluation: Evaluation,
        kit: Kit | None,
        model: str | None,
        file: Path | None,
        on_result: Callable[[Finished], None] | None,
    ) -> None:
        self._evaluation = evaluation
        self._kit = kit
        self._changes: dict[str, Any] = {} if model is None else {"model": model}
        self._file = file
        self._on_result = on_result

    def digest(self, case: Case) -> str:
        """That of the case, for this model."""
        digest = self._evaluation.digest(case)
        return f"{digest}-{self._changes['model']}" if self._changes else digest

    async def finish(self, case: Case) -> Finished:
        outcome = await self._outcome(case)
        usage, scores = outcome.usage, list[Score]()
        if outcome.error is None:
            for scorer in self._evaluation.scorers:
                try:
                    score = await scorer.score(outcome, self._kit)
                except OpspawnError:
                    raise
                except Exception as error:  # somebody's own function: one that fails must not cost all other cases
                    name = getattr(scorer, "name", scorer.identity)
                    words = f"The scorer {name!r} failed: {type(error).__name__}: {error}"
                    outcome, scores = replace(outcome, error=words), []
                    break
                scores.append(score)
                usage += score.usage
        done = Finished(
            case.name,
            self.digest(case),
            plain_json(outcome.output),
            outcome.error,
            scores,
            list(case.labels),
            usage,
            outcome.duration_s,
        )
        self._write(done)
        if self._on_result is not None:
            self._on_result(done)
        return done

    async def _outcome(self, case: Case) -> Outcome:
        events, began = Events(), time.monotonic()
        output, error, usage = None, None, Usage()
        try:
            if self._evaluation.agent is not None:
                ended = await self._evaluation.agent.run(
                    case.input, kit=self._kit, on_event=events.add, **self._changes
                )
                output, usage = ended.output, ended.usage
            elif self._evaluation.run is not None:
                said = self._evaluation.run(case.input)
                output = await said if inspect.isawaitable(said) else said
        except ConfigError:
            raise
        except Exception as failed:
            error, usage = f"{type(failed).__name__}: {failed}", events.usage
        return Outcome(case, output, error, events, usage, time.monotonic() - began)

    def _write(self, done: Finished) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps(done.to_json(), ensure_ascii=False).encode("utf-8", "backslashreplace")
            with self._file.open("ab+") as file:
                if file.tell() and file.seek(-1, 2) is not None and file.read(1) != b"\n":
                    line = b"\n" + line  # whoever wrote the last line was killed
                file.write(line + b"\n")
        except OSError as error:
            raise ConfigError(f"The results in {str(self._file)!r} cannot be written: {error.strerror}.") from error
