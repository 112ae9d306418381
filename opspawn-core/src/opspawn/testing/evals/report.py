"""What came of an evaluation: results by case, their file, totals, and what has changed since another one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opspawn.agentkit.codec import usage_from_json, usage_to_json
from opspawn.agentkit.plain import plain_json
from opspawn.contracts.model import Usage
from opspawn.errors import ConfigError
from opspawn.testing.evals.cases import Score


@dataclass(frozen=True)
class Finished:
    """The result of one case. `usage` is that of the run and of its judges; `kept` says that it is from a file."""

    name: str
    digest: str
    output: Any = None
    error: str | None = None
    scores: Sequence[Score] = ()
    labels: Sequence[str] = ()
    usage: Usage = field(default_factory=Usage)
    duration_s: float = 0.0
    kept: bool = False

    @property
    def passed(self) -> bool:
        """Whether every scorer is content."""
        return self.error is None and all(score.passed for score in self.scores)

    @property
    def score(self) -> float:
        """The mean of the scores; 0 for an error."""
        return sum(score.value for score in self.scores) / len(self.scores) if self.scores and not self.error else 0.0

    @property
    def why(self) -> str:
        """What is wrong, in words."""
        if self.error is not None:
            return self.error
        return "; ".join(f"{score.name}: {score.why or score.value}" for score in self.scores if not score.passed)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, as the file has it."""
        scores = [{"name": s.name, "value": s.value, "passed": s.passed, "why": s.why} for s in self.scores]
        told = {"name": self.name, "digest": self.digest, "passed": self.passed, "score": round(self.score, 4)}
        told |= {"output": plain_json(self.output), "error": self.error, "scores": scores, "labels": list(self.labels)}
        return {**told, "usage": usage_to_json(self.usage), "durationS": round(self.duration_s, 3)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finished:
        """A line of the file. Raises: KeyError, TypeError: it is none."""
        scores = [Score(one["name"], one["value"], one["passed"], one.get("why", "")) for one in data["scores"]]
        return cls(
            data["name"],
            data["digest"],
            data["output"],
            data["error"],
            scores,
            data["labels"],
            usage_from_json(data["usage"]),
            data["durationS"],
            kept=True,
        )


@dataclass(frozen=True)
class Report:
    """The results in the order of the cases."""

    results: Sequence[Finished]
    name: str = ""

    @property
    def passed(self) -> int:
        """How many cases passed."""
        return sum(result.passed for result in self.results)

    @property
    def rate(self) -> float:
        """The share of cases that passed, 0 to 1."""
        return self.passed / len(self.results) if self.results else 0.0

    @property
    def score(self) -> float:
        """The mean score of all cases."""
        return sum(result.score for result in self.results) / len(self.results) if self.results else 0.0

    @property
    def usage(self) -> Usage:
        """Of all cases, those of an earlier run included."""
        return sum((result.usage for result in self.results), Usage())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: the totals, and each case."""
        usage = self.usage
        return {
            "name": self.name,
            "cases": len(self.results),
            "passed": self.passed,
            "rate": round(self.rate, 4),
            "score": round(self.score, 4),
            "usage": usage_to_json(usage),
            "results": [result.to_json() for result in self.results],
        }


@dataclass(frozen=True)
class Difference:
    """A case of which two reports say different things; None where it is not in one of them."""

    name: str
    before: float | None
    after: float | None
    worse: bool


def compare(before: Sequence[Finished], after: Report) -> list[Difference]:
    """What has changed: cases that pass no more first. A change of the score alone counts, too."""
    old, new = {one.name: one for one in before}, {one.name: one for one in after.results}
    found = []
    for name in [*new, *(name for name in old if name not in new)]:
        was, now = old.get(name), new.get(name)
        if was is None or now is None:
            found.append(Difference(name, was.score if was else None, now.score if now else None, worse=False))
        elif (was.passed, round(was.score, 4)) != (now.passed, round(now.score, 4)):
            found.append(
                Difference(name, was.score, now.score, worse=(now.passed, now.score) < (was.passed, was.score))
            )
    return sorted(found, key=lambda one: not one.worse)


def read_results(file: Path) -> list[Finished]:
    """The results in a file, of each case the last; a line that was cut off is left out.

    Raises: ConfigError: it cannot be read, or is something else.
    """
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"The results in {str(file)!r} cannot be read: {reason}.") from error
    found: dict[str, Finished] = {}
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
        except ValueError:  # an empty line, or one whose writer was killed
            if found or not line.strip() or number == len(lines):
                continue
            data = None
        try:
            one = Finished.from_json(data)
        except (KeyError, TypeError) as error:
            remedy = "Name a file that 'opspawn eval --results' wrote."
            raise ConfigError(f"{file}:{number} is no result of an evaluation.", remedy=remedy) from error
        found[one.name] = one
    return list(found.values())
