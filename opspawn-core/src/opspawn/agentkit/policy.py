"""`Policy`: rules that are written down, in Python or in opspawn.toml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from opspawn.agentkit.matching import check_pattern, found, glob, matches
from opspawn.contracts.policy import Considered, Decision, Verdict
from opspawn.contracts.tool import Effect
from opspawn.errors import ConfigError

_ACTS = {"tool": "tool", "model": "model", "dispatch": "dispatch"}
_MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """What is decided about some calls, e.g. `Rule("ask", tool="refund", arguments={"amount": {"above": 100}})`.

    All that is given must fit. Texts are globs.

    Attributes:
        decision: "allow", "ask" or "deny".
        tool, model, dispatch: which calls are meant, one of the three: of tools by name, of models as "PROVIDER:MODEL",
            of work for others by handler, e.g. "agent/*". None of them means all tools.
        agent: which agents (or workflows, or functions).
        effect: only tools with this effect.
        arguments: patterns by dotted path, e.g. `{"to.address": "*@example.com"}`; of a list, one item that fits
            suffices. A path that is not there does not fit. A pattern is a glob; a value; a list of these, of which one
            must fit; or a table: glob, regex (of the whole text), min, max, above, below (numbers), not (a pattern).
        reason: why, in words, for the model or whoever is asked.
        approvers: who should decide, for "ask". expires_s: seconds until a question to them counts as denied.
    """

    decision: Decision
    tool: str | None = None
    model: str | None = None
    dispatch: str | None = None
    agent: str = "*"
    effect: Effect | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    approvers: Sequence[str] = ()
    expires_s: float | None = None

    def __post_init__(self) -> None:
        where = f"The rule {self.decision!r}"
        if self.decision not in get_args(Decision):
            raise ConfigError(f"{self.decision!r} is no decision of a rule.", remedy="Write allow, ask or deny.")
        if sum(getattr(self, act) is not None for act in _ACTS) > 1:
            raise ConfigError(f"{where} names more than one of tool, model and dispatch.", remedy="Write two rules.")
        if self.effect is not None and self.effect not in get_args(Effect):
            raise ConfigError(f"{where} has effect={self.effect!r}.", remedy="Write read, idempotent or once.")
        if self.effect is not None and self._act != "tool":
            raise ConfigError(f"{where} has an effect, which only tools have.")
        if isinstance(self.approvers, str):
            raise ConfigError(f"{where} has approvers={self.approvers!r}; a list is meant.")
        if self.expires_s is not None and not self.expires_s > 0:
            raise ConfigError(f"{where} has expires_s={self.expires_s!r}; seconds above 0 are meant.")
        for path, pattern in self.arguments.items():
            check_pattern(pattern, f"{where}: arguments.{path}")

    @property
    def _act(self) -> str:
        return "model" if self.model is not None else "dispatch" if self.dispatch is not None else "tool"

    def fits(self, considered: Considered) -> bool:
        """Whether the rule is about this."""
        return self._names(considered) and self._means(considered.arguments)

    def _names(self, considered: Considered) -> bool:
        """Whether the rule is about this, as far as that does not depend on arguments."""
        act = self._act
        named = getattr(self, act)
        return (
            considered.act == act
            and (named is None or glob(named, considered.name))
            and glob(self.agent, considered.agent)
            and (self.effect is None or self.effect == considered.effect)
        )

    def _means(self, arguments: Any) -> bool:
        """Whether the arguments are those that the rule is about."""
        return all(
            any(matches(pattern, value) for value in found(arguments, path)) for path, pattern in self.arguments.items()
        )

    @property
    def verdict(self) -> Verdict:
        """What it says."""
        return Verdict(self.decision, self.reason, tuple(self.approvers), self.expires_s)


class Policy:
    """Rules, read from the top: the first that fits decides, so that exceptions stand above what they except.

    What no rule fits is decided by the tool's effect, and allowed where `defaults` says nothing.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        defaults: Mapping[Effect, Decision] = MappingProxyType({}),
        name: str = "policy",
    ) -> None:
        """Write down a policy.

        Args:
            defaults: decisions by the effect of a tool, e.g. `{"once": "ask"}`.
            name: for the journal.

        Raises:
            ConfigError: something is no rule, or a default no decision.
        """
        for rule in rules:
            if not isinstance(rule, Rule):
                raise ConfigError(f"{rule!r:.80} is no rule.", remedy='Write Rule("ask", tool="...").')
        for effect, decision in defaults.items():
            if effect not in get_args(Effect) or decision not in get_args(Decision):
                raise ConfigError(
                    f"A policy has the default {effect!r}: {decision!r}.", remedy='Write e.g. {"once": "ask"}.'
                )
        self.name = name
        self._rules = tuple(rules)
        self._defaults = dict(defaults)
        #: Of what was considered before, the rules that may fit, up to the first one that does whatever the arguments.
        self._about: dict[tuple[str, str, str, str | None], tuple[tuple[Rule, Verdict], ...]] = {}

    def __repr__(self) -> str:
        return f"<Policy {self.name!r}, {len(self._rules)} rules>"

    def decide(self, considered: Considered) -> Verdict | None:
        """What the first rule that fits says, or the default."""
        for rule, verdict in self._rules_about(considered):
            if not rule.arguments or rule._means(considered.arguments):
                return verdict
        default = self._defaults.get(considered.effect) if considered.effect is not None else None
        if default is None:
            return None
        return Verdict(default, f"Tools with the effect {considered.effect!r} are under this rule.")

    def _rules_about(self, considered: Considered) -> tuple[tuple[Rule, Verdict], ...]:
        key = (considered.act, considered.name, considered.agent, considered.effect)
        about = self._about.get(key)
        if about is None:
            found: list[tuple[Rule, Verdict]] = []
            for rule in self._rules:
                if rule._names(considered):
                    found.append((rule, rule.verdict))
                    if not rule.arguments:
                        break
            if len(self._about) >= _MOST_KEPT:
                self._about.clear()
            about = self._about[key] = tuple(found)
        return about
