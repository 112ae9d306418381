"""A loaded workflow: checked, compiled, immutable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from opspawn.agentkit.values import InputSpec
from opspawn.contracts.budget import Budget
from opspawn.contracts.limit import Limit
from opspawn.contracts.run import RetryPolicy
from opspawn.errors import InvalidInput
from opspawn.ops.workflows.budgets import budget_of
from opspawn.ops.workflows.expressions import compact
from opspawn.ops.workflows.inputs import bind


@dataclass(frozen=True, slots=True)
class Step:
    """One step, ready to run. `arguments` is compiled data for `expressions.render`, or None if nothing was given."""

    id: str
    kind: Literal["tool", "agent"]
    target: str
    needs: tuple[str, ...]
    arguments: Any
    timeout_s: float | None
    retry: RetryPolicy | None
    budget: Budget | None = None


class Workflow:
    """A workflow that passed every check; `load_workflow` makes it. Safe to share between runs.

    Attributes:
        name, version, description: as in the definition.
        steps: in the order of the definition.
        tools, agents: the names that the steps use, sorted; that they exist is for the app to check.
        limit: how many runs may be under way at once, or None. budget: what a run may use, or None.
        digest: SHA-256, in hex, of the canonical JSON of the definition; equal for equal definitions.
    """

    def __init__(
        self, definition: Mapping[str, Any], inputs: Mapping[str, InputSpec], steps: tuple[Step, ...], output: Any
    ) -> None:
        self._text = compact(definition)
        self._inputs = dict(inputs)
        self._output = output
        self.name: str = definition["name"]
        self.version: str | None = definition.get("version")
        self.description: str | None = definition.get("description")
        self.steps = steps
        self.tools = tuple(sorted({step.target for step in steps if step.kind == "tool"}))
        self.agents = tuple(sorted({step.target for step in steps if step.kind == "agent"}))
        self.limit = _limit(self.name, definition.get("concurrency"))
        self.budget = budget_of(definition.get("budget"))
        self.has_output = "output" in definition
        canonical = json.dumps(definition, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
        self.digest = hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

    def __setattr__(self, name: str, value: Any) -> None:
        # The digest comes last: from then on nothing changes.
        if hasattr(self, "digest"):
            raise AttributeError(f"A workflow is immutable; {name!r} cannot be set.")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"<Workflow {self.name} version={self.version} steps={len(self.steps)} digest={self.digest[:12]}>"

    @property
    def definition(self) -> dict[str, Any]:
        """The normalised definition as plain JSON, a new copy each time; loading it again gives the same digest."""
        definition: dict[str, Any] = json.loads(self._text)
        return definition

    @property
    def output(self) -> Any:
        """Compiled data of `output` for `expressions.render`; only if `has_output`."""
        return self._output

    def bind_inputs(self, given: Any) -> dict[str, Any]:
        """Return the inputs of a run, defaults filled in; None counts as no inputs.

        Raises:
            InvalidInput: unknown, missing or unfit inputs, one line each: "inputs.depth: must be an integer, ...".
        """
        bound, faults = bind(self._inputs, given)
        try:
            text = compact(bound)
        except (TypeError, ValueError) as error:
            faults, text = [*faults, f"inputs: must be JSON: {error}."], "{}"
        if faults:
            raise InvalidInput(f"The input does not fit the workflow {self.name!r}: {faults[0]}", faults=faults)
        # A default that is a list or a mapping must not be shared between runs.
        copy: dict[str, Any] = json.loads(text)
        return copy


def _limit(name: str, concurrency: Any) -> Limit | None:
    if concurrency is None:
        return None
    return Limit(concurrency.get("key") or f"workflow/{name}", concurrency["at_most"], parked=True)
