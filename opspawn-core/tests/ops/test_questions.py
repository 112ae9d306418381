"""Questions to humans: asked once, found by everybody, answered once, and then the run goes on."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opspawn.contracts.question import Question
from opspawn.contracts.run import RetryPolicy
from opspawn.contracts.store import Batch, Put, Query, TaskState
from opspawn.errors import InvalidInput, InvalidTransition, NotFound, StepTimeout, StoreError, ToolError
from opspawn.ops.engine.engine import Engine


async def asked(house: Any, **where: str) -> list[Any]:
    return list((await house.engine.questions(Query(where={"state": "open", **where}))).items)


async def one(house: Any, **where: str) -> Any:
    """The one open question, once it is there."""

    async def there() -> bool:
        return len(await asked(house, **where)) == 1

    await house.until(there)
    return (await asked(house, **where))[0]


async def test_a_run_that_asks_holds_no_slot_and_gets_the_answer(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Ship it?", choices=["yes", "no"], to="release manager")

    worker = house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    question = await one(house)
    await house.until(lambda: worker.running == 0)
    answered = await house.engine.answer(question.id, "yes", by="ada")

    assert (await house.settled(task)).result == "yes"
    assert (question.task, question.root, question.key, question.state) == (task.id, task.id, "ask", "open")
    assert question.question == Question("Ship it?", ("yes", "no"), None, "release manager")
    assert (answered.state, answered.answer.value, answered.answer.by) == ("answered", "yes", "ada")
    assert answered.consumed_by == "ask"
    assert await asked(house) == []
    [event] = await house.events(task, "question.answered")
    assert event.data == {"question": question.id, "key": "ask", "value": "yes", "by": "ada", "about": "question"}


async def test_a_question_is_asked_once_over_crashes(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        count("life")
        return await ctx.gather(ctx.ask("Well?"), ctx.step("long", asyncio.sleep, 60 if count["life"] == 1 else 0))

    worker = house.worker()
    task = await house.submit("work")
    first = await one(house)
    await house.kill(worker)
    house.worker()
    await house.reaches(task, TaskState.WAITING)
    await house.engine.answer((await one(house)).id, {"n": [1, 2.5, None]})

    assert (await house.settled(task)).result == [{"n": [1, 2.5, None]}, None]
    assert [event.data["question"] for event in await house.events(task, "question.asked")] == [first.id]


async def test_the_first_answer_counts_and_later_ones_are_refused_in_words(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    await house.submit("work")
    house.worker()
    question = await one(house)
    answers = await asyncio.gather(
        *(house.engine.answer(question.id, n, by=f"person {n}") for n in range(5)), return_exceptions=True
    )
    task = await house.settled(question.task)

    refused = [answer for answer in answers if isinstance(answer, InvalidTransition)]
    assert len(refused) == 4
    assert str(refused[0]) == (
        f"The question {question.id} has been answered by person {task.result} already: {task.result}."
    )


@pytest.mark.parametrize(
    ("limits", "wrong", "words", "right"),
    [
        ({"choices": ["yes", "no"]}, "maybe", r"'maybe' is none of the choices\. Choose one of: 'yes', 'no'", "no"),
        ({"choices": [1, 2]}, True, "True is none of the choices", 1),
        ({"schema": {"type": "integer", "minimum": 1}}, 0, "answer: must be at least 1, not 0", 3),
        (
            {"schema": {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}},
            {},
            "answer.n: is missing",
            {"n": "x"},
        ),
        ({}, float("inf"), "is not JSON", None),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open(
    house: Any, limits: dict[str, Any], wrong: Any, words: str, right: Any
) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?", **limits)

    house.worker()
    task = await house.submit("work")
    question = await one(house)

    with pytest.raises(InvalidInput, match=words):
        await house.engine.answer(question.id, wrong)
    await house.engine.answer(question.id, right)
    assert (await house.settled(task)).result == right


async def test_nobody_answers_in_time_and_the_default_counts(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?", timeout_s=0.05, default={"as": "before"})

    task = await house.run("work")
    [event] = await house.events(task, "question.expired")

    assert task.result == {"as": "before"}
    assert await asked(house) == []
    with pytest.raises(InvalidTransition, match="has expired; nobody waits for its answer any more"):
        await house.engine.answer(event.data["question"], 1)


async def test_without_a_default_it_fails_and_stays_failed(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        try:
            return await ctx.ask("Well?", timeout_s=0.05)
        except StepTimeout as error:
            if count("life") == 1:
                await asyncio.sleep(60)
            return str(error)

    worker = house.worker()
    task = await house.submit("work")
    await house.until(lambda: count["life"] == 1)
    await house.kill(worker)
    house.worker()

    assert (await house.settled(task)).result == "Nobody answered the question in time."
    assert (await house.types(task)).count("question.expired") == 1


async def test_an_answer_that_comes_with_the_expiry_is_not_lost(house: Any) -> None:
    """It comes between the run's look and its commit: the record of the question decides."""

    class AnswersFirst:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            if _tells(batch, "question.expired"):
                [question] = (await house.store.find("question", Query())).items
                engine = Engine(house.store, house.waker, lambda _, input: input, Slow())
                await engine.answer(question.id, "just in time")
            return await house.store.commit(batch)

    class Slow:
        """A clock that is behind."""

        virtual = False
        monotonic = staticmethod(time.monotonic)

        def time(self) -> float:
            return 0.0

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?", timeout_s=0.05, default="late")

    task = await house.submit("work")
    house.worker(store=AnswersFirst())

    assert (await house.settled(task)).result == "just in time"
    assert "question.expired" not in await house.types(task)


async def test_a_new_attempt_asks_anew(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?", timeout_s=0.05)

    house.worker()
    task = await house.submit("work", retry=RetryPolicy(attempts=2, initial_s=0.01, jitter=False))
    ended = await house.settled(task)

    ids = [event.data["question"] for event in await house.events(task, "question.asked")]
    assert (ended.state, len(ids), len(set(ids))) == (TaskState.FAILED, 2, 2)


async def test_a_new_generation_keeps_the_answers_it_got_and_asks_the_others_again(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        first = await ctx.ask("First?")
        second = await ctx.ask("Second?", timeout_s=0.05 if count("life") == 1 else None)
        return [first, second]

    house.worker()
    task = await house.submit("work")
    await house.engine.answer((await one(house)).id, 1)
    assert (await house.settled(task)).state is TaskState.FAILED
    again = await house.engine.retry(task.id)
    second = await one(house, task=again.id)
    await house.engine.answer(second.id, 2)

    assert second.question.text == "Second?"
    assert (await house.settled(again)).result == [1, 2]


async def test_questions_of_children_are_visible_at_the_root(house: Any) -> None:
    @house.function
    async def parent(ctx: Any) -> Any:
        return await ctx.spawn("function/middle")

    @house.function
    async def middle(ctx: Any) -> Any:
        return await ctx.spawn("function/child")

    @house.function
    async def child(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    house.worker()
    other = await house.submit("child")
    task = await house.submit("parent")
    question = await one(house, root=task.id)
    await one(house, task=other.id)
    await house.engine.answer(question.id, "from the top")

    assert question.task != task.id
    assert (await house.settled(task)).result == "from the top"


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_questions_of_a_task_that_ended_are_withdrawn(house: Any, how: str) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.gather(ctx.ask("Well?"), breaks(ctx))

    async def breaks(ctx: Any) -> None:
        await ctx.wait("break")
        raise ToolError("broke")

    house.worker()
    task = await house.submit("work")
    question = await one(house)
    if how == "cancelled":
        await house.engine.cancel(task.id)
    else:
        await house.engine.signal(task.id, "break")
    ended = await house.settled(task)
    await house.until(lambda: _is(house, question.id, "withdrawn"))

    assert ended.state == how
    with pytest.raises(InvalidTransition, match=r"was withdrawn: task .* has ended"):
        await house.engine.answer(question.id, 1)


async def test_a_question_whose_task_ended_unnoticed_is_not_listed_and_takes_no_answer(house: Any) -> None:
    """The worker died between the end of the task and the withdrawal."""

    class Forgets:
        def __getattr__(self, name: str) -> Any:
            return getattr(house.store, name)

        async def commit(self, batch: Any) -> Any:
            [*_, last] = batch.operations
            if len(batch.operations) == 1 and getattr(getattr(last, "record", None), "kind", "") == "question":
                raise StoreError("The worker died.")
            return await house.store.commit(batch)

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    task = await house.submit("work")
    house.worker(store=Forgets())
    question = await one(house)
    await house.engine.cancel(task.id)
    ended = await house.settled(task)
    state = (await house.engine.question(question.id)).state

    assert (ended.state, state) == (TaskState.CANCELLED, "open")
    with pytest.raises(InvalidTransition, match="has ended: it is cancelled"):
        await house.engine.answer(question.id, 1)
    assert await asked(house) == []
    assert (await house.engine.question(question.id)).state == "withdrawn"


async def test_a_paused_task_takes_answers(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.engine.pause(task.id)
    await house.engine.answer((await one(house)).id, 7)
    await house.engine.resume(task.id)

    assert (await house.settled_for_good(task)).result == 7


async def test_a_changed_question_is_a_mismatch(house: Any, count: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("First?" if count("life") == 1 else "Other?")

    house.worker()
    task = await house.reaches(await house.submit("work"), TaskState.WAITING)
    await house.engine.answer((await one(house)).id, 1)
    paused = await house.settled(task)

    assert (paused.state, paused.error["type"]) == (TaskState.PAUSED, "journal_mismatch")


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({"question": " "}, "A question is a text"),
        ({"question": "Well?", "choices": "yes"}, "a list is meant"),
        ({"question": "Well?", "choices": [1], "schema": {}}, "Give one of them"),
        ({"question": "Well?", "schema": {"type": "int"}}, r"schema\.type"),
        ({"question": "Well?", "schema": {"$ref": "#"}}, r"schema\.\$ref"),
        ({"question": "Well?", "to": ""}, "goes to a role or person"),
        ({"question": "Well?", "timeout_s": -1}, "cannot wait for -1 seconds"),
    ],
)
async def test_a_question_that_does_not_do_is_refused(house: Any, question: dict[str, Any], words: str) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        with pytest.raises(InvalidInput, match=words):
            await ctx.ask(**question)
        return "refused"

    assert (await house.run("work")).result == "refused"


async def test_an_unknown_question_is_said_to_be_unknown(house: Any) -> None:
    with pytest.raises(NotFound, match=r"There is no question 'q-none'\. See 'opspawn questions list'\."):
        await house.engine.answer("q-none", 1)


async def _is(house: Any, question: str, state: str) -> bool:
    return (await house.engine.question(question)).state == state


def _tells(batch: Any, type: str) -> bool:
    return any(getattr(getattr(one, "event", None), "type", "") == type for one in batch.operations)


async def test_an_answer_to_a_task_that_ends_meanwhile_is_refused_in_words(house: Any, monkeypatch: Any) -> None:
    """The task ends between the look at it and the commit."""

    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    async def not_yet(*arguments: Any) -> None:
        """Nobody has come to close the questions of the task."""

    monkeypatch.setattr("opspawn.ops.run.life.withdraw", not_yet)
    house.worker()
    task = await house.submit("work")
    question = await one(house)
    commit = house.engine._commit

    async def after_the_end(*arguments: Any) -> Any:
        monkeypatch.setattr(house.engine, "_commit", commit)
        await house.engine.cancel(task.id)
        await house.reaches(task, TaskState.CANCELLED)
        return await commit(*arguments)

    monkeypatch.setattr(house.engine, "_commit", after_the_end)
    with pytest.raises(InvalidTransition, match="has ended: it is cancelled"):
        await house.engine.answer(question.id, "yes")
    kept = await house.engine.question(question.id)
    assert (kept.state, kept.answer) == ("withdrawn", None)
    assert await house.events(task, "question.answered") == []


async def test_after_the_deadline_of_its_task_a_question_takes_no_answer(house: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    worker = house.worker()
    task = await house.submit("work", deadline_s=3600.0)
    question = await one(house)
    await house.stop(worker)
    stored = await house.store.get_task(task.id)
    late = stored.but(deadline=datetime.now(UTC) - timedelta(seconds=1))
    await house.store.commit(Batch([Put(late, expect=stored.version, due_in_s=None)]))

    with pytest.raises(InvalidTransition, match="deadline has passed"):
        await house.engine.answer(question.id, "yes")


@pytest.mark.parametrize("by", [5, "\ud800", "x" * 201])
async def test_whoever_decides_has_a_name(house: Any, by: Any) -> None:
    @house.function
    async def work(ctx: Any) -> Any:
        return await ctx.ask("Well?")

    house.worker()
    task = await house.submit("work")
    question = await one(house)
    for decide in (
        lambda: house.engine.answer(question.id, "yes", by=by),
        lambda: house.engine.signal(task.id, "go", by=by),
        lambda: house.engine.pause(task.id, by=by),
        lambda: house.engine.resume(task.id, by=by),
        lambda: house.engine.resolve(task.id, "happened", by=by),
    ):
        with pytest.raises(InvalidInput, match="'by'"):
            await decide()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"bogus": 1}, "Questions cannot be searched by 'bogus'. Use one of id, task, root, state, kind, to."),
        ({"state": "bogus"}, "Questions have no state 'bogus'. Use one of open, answered, expired, withdrawn."),
        ({"kind": "Plan"}, "Questions have no kind 'Plan'. Use one of question, approval, plan."),
    ],
)
async def test_a_search_for_questions_that_can_find_none_is_refused(
    house: Any, where: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await house.engine.questions(Query(where))

    assert str(caught.value) == said


async def test_what_is_no_query_is_named(house: Any) -> None:
    for search in (house.engine.questions, house.engine.tasks):
        with pytest.raises(InvalidInput, match="are found by a Query, not by 'open'"):
            await search("open")
