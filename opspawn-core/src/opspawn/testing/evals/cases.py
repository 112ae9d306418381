"""What an evaluation is made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from opspawn.agentkit import Agent
from opspawn.agentkit.plain import plain_json
from opspawn.contracts.model import Usage
from opspawn.errors import InvalidInput
from opspawn.testing.captured import Events

if TYPE_CHECKING:
    from opspawn.agentkit.kit import Kit


@dataclass(frozen=True)
class Case:
    """One thing to ask.

    Attributes:
        name: unique in its evaluation.
        input: what the agent is asked; any JSON.
        expected: what scorers compare with; None where they need nothing.
        labels: words to choose cases by.
    """

    name: str
    input: Any
    expected: Any = None
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a case: the output, or the error in words, and all that happened."""

    case: Case
    output: Any = None
    error: str | None = None
    events: Events = field(default_factory=Events, compare=False)
    usage: Usage = field(default_factory=Usage)
    duration_s: float = 0.0

    @property
    def text(self) -> str:
        """The output as text: of anything but a text, its JSON."""
        if isinstance(self.output, str):
            return self.output
        return json.dumps(plain_json(self.output), ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Score:
    """What a scorer says: `value` is 0 to 1, `why` is for people. `usage` is what it used itself."""

    name: str
    value: float
    passed: bool
    why: str = ""
    usage: Usage = field(default_factory=Usage)


class Scorer(Protocol):
    """Says how good an outcome is. `identity` changes when its verdicts would."""

    @property
    def identity(self) -> str: ...

    async def score(self, outcome: Outcome, kit: Kit | None) -> Score:
        """The score. It is asked only where the run gave an output."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """An agent, what to ask it, and how to score the answers.

    `run` stands in for the agent where something else answers: a function of the input, async or not.
    """

    cases: Sequence[Case]
    scorers: Sequence[Scorer]
    agent: Agent[Any, Any] | None = None
    run: Callable[[Any], Any | Awaitable[Any]] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if (self.agent is None) == (self.run is None):
            raise InvalidInput("An evaluation takes either agent= or run=.")
        if self.agent is not None and not hasattr(self.agent, "about"):
            raise InvalidInput(f"{self.agent!r:.80} is no agent.", remedy="Give Agent(...); files name it by text.")
        if not self.cases or not self.scorers:
            raise InvalidInput("An evaluation needs at least one case and one scorer.")
        names = [case.name for case in self.cases]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidInput(f"Two cases are named {twice[0]!r}.", remedy="Give each case a name of its own.")

    def digest(self, case: Case) -> str:
        """Changes when the case, the agent's description or a scorer does: then a result is out of date."""
        asked = [case.name, plain_json(case.input), plain_json(case.expected)]
        told = [*asked, self._answerer(), [scorer.identity for scorer in self.scorers]]
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _answerer(self) -> Any:
        if self.agent is None:
            return getattr(self.run, "__qualname__", repr(self.run))
        about = self.agent
        told: Mapping[str, Any] = {
            "name": about.name,
            "model": about.model,
            "planner": about.planner,
            "instructions": about.instructions,
            "tools": list(about.tool_names),
            "settings": dict(about.settings),
            "max_steps": about.max_steps,
        }
        return told
