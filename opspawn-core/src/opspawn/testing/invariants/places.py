"""Concurrency keys: were there never more holders at once than the limit allows?

A claim takes a place under each key of its task, and has it until the claim ends, or, if the hold is for as long as the
task is unfinished, until the task ends. Of a claim that nobody ended it is only sure that it held until its lease would
have run out unrenewed, and of any claim no longer where the worker may have been frozen: so `lease_s` bounds both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from opspawn.contracts.store import Hold, Task
from opspawn.testing.invariants.story import Story
from opspawn.testing.invariants.violation import Violation


@dataclass(frozen=True, slots=True)
class _Stay:
    """A place surely held from `begin` until before `end`, both positions, and until `until`, in epoch seconds."""

    task: str
    limit: int
    begin: int
    time: float
    end: float
    until: float


def check_places(known: Mapping[str, Task], stories: Mapping[str, Story], lease_s: float | None) -> Iterator[Violation]:
    """Violations of the limits of all keys."""
    stays: dict[str, list[_Stay]] = {}
    for id, story in stories.items():
        for hold in known[id].holds if id in known else ():
            stays.setdefault(hold.key, []).extend(_stays(story, hold, lease_s))
    for key, held in stays.items():
        inside: list[_Stay] = []
        for stay in sorted(held, key=lambda stay: stay.begin):
            inside = [one for one in inside if one.end > stay.begin and one.until > stay.time and one.task != stay.task]
            inside.append(stay)
            if len(inside) > stay.limit:
                words = f"took a place under {key!r} where {stay.limit} may hold one and {len(inside) - 1} did"
                yield Violation("places", stay.task, words, [one.begin for one in inside])


def _stays(story: Story, hold: Hold, lease_s: float | None) -> Iterator[_Stay]:
    claims = [claim for claim in story.claims if not claim.to_end]  # to hear of a cancel needs no place
    if hold.while_ == "unfinished":
        if claims:
            end = story.ended.position if story.ended is not None else float("inf")
            first = claims[0].begin
            yield _Stay(story.task, hold.limit, first.position, first.time.timestamp(), end, float("inf"))
        return
    for claim in claims:
        time = claim.begin.time.timestamp()
        end = float("inf") if claim.end is None else claim.end.position
        until = float("inf") if lease_s is None else time + lease_s
        if claim.lost and lease_s is None:
            until = time  # nobody knows how long
        yield _Stay(story.task, hold.limit, claim.begin.position, time, end, until)
