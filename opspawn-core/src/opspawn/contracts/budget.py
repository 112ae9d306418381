"""Budgets: how much a run, and everything under it, may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, get_args

from opspawn.errors import ConfigError

#: What can be limited, in the words of Python; on the wire they are camelCase.
LimitName = Literal["tokens", "usd", "requests", "tool_calls", "wall_s", "depth"]
LIMITS: Final[tuple[LimitName, ...]] = get_args(LimitName)
_WIRE = {"tool_calls": "toolCalls", "wall_s": "wallS"}
_MOST = 1e15


@dataclass(frozen=True, slots=True)
class Cheaper:
    """Go on with a cheaper model when tokens, money or requests are used up.

    Attributes:
        model: "PROVIDER:MODEL", or an open provider.
        more: what may be used from then on, as a part of each of these limits: 1.0 is as much again. Then the run ends.
    """

    model: Any
    more: float = 1.0

    def __post_init__(self) -> None:
        if self.model is None or self.model == "":
            raise ConfigError("Cheaper names no model.", remedy='Write Cheaper("openai:gpt-5-mini").')
        if not _is_number(self.more) or not 0 < self.more <= 100:
            raise ConfigError(f"Cheaper has more={self.more!r}; a number above 0, at most 100, is meant.")


OnExceed = Literal["stop", "ask"] | Cheaper


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may use, its children included; None is no limit.

    Attributes:
        tokens: of all model calls, in and out. usd: their cost, in US dollars.
        requests: model calls, each try counted. tool_calls: calls of tools that are carried out.
        wall_s: seconds from the first start of the run, those included in which it waits.
        depth: how many levels of child tasks may be below the run; 0 for none.
        on_exceed: "stop" ends the run with `BudgetExceeded`; "ask" has a human asked for more; `Cheaper(...)` goes on
            with another model.
        approvers: who should be asked, as roles or people.
    """

    tokens: int | None = None
    usd: float | Decimal | None = None
    requests: int | None = None
    tool_calls: int | None = None
    wall_s: float | None = None
    depth: int | None = None
    on_exceed: OnExceed = "stop"
    approvers: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in LIMITS:
            value = getattr(self, name)
            whole = name not in ("usd", "wall_s")
            if value is None:
                continue
            if not _is_number(value) or not 0 <= value <= _MOST or (whole and value != int(value)):
                kind = "a whole number from 0" if whole else "a number from 0"
                raise ConfigError(f"A budget has {name}={value!r}; {kind} is meant.", remedy="None is no limit.")
        if self.on_exceed not in ("stop", "ask") and not isinstance(self.on_exceed, Cheaper):
            raise ConfigError(
                f"A budget has on_exceed={self.on_exceed!r}.",
                remedy='Write "stop", "ask" or Cheaper("PROVIDER:MODEL").',
            )
        if isinstance(self.approvers, str):
            raise ConfigError(f"A budget has approvers={self.approvers!r}; a list is meant.")

    @property
    def limits(self) -> dict[LimitName, Decimal]:
        """The limits that are set."""
        return {name: Decimal(str(value)) for name in LIMITS if (value := getattr(self, name)) is not None}

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what is not set. Raises: ConfigError: `Cheaper`, which only an agent may say."""
        if isinstance(self.on_exceed, Cheaper):
            raise ConfigError(
                "A budget that is submitted cannot go on with another model.", remedy="Give it to the agent: budget=."
            )
        data: dict[str, Any] = {wire_name(name): number(value) for name, value in self.limits.items()}
        if self.on_exceed != "stop":
            data["onExceed"] = self.on_exceed
        return data | ({"approvers": list(self.approvers)} if self.approvers else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Budget:
        """The budget of `to_json`; what a newer version wrote besides is left out. Raises: ConfigError."""
        values: dict[str, Any] = {name: data[wire] for name in LIMITS if (wire := wire_name(name)) in data}
        if isinstance(values.get("usd"), str):
            try:
                values["usd"] = Decimal(values["usd"])
            except InvalidOperation as error:
                raise ConfigError(f"A budget has usd={values['usd']!r}; a number is meant.") from error
        return cls(**values, on_exceed=data.get("onExceed", "stop"), approvers=tuple(data.get("approvers", ())))


def wire_name(name: str) -> str:
    """The name of a limit in JSON."""
    return _WIRE.get(name, name)


def number(value: Decimal) -> int | float:
    """An amount as a JSON number."""
    return int(value) if value == int(value) else float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and value == value


#: What a budget can be made of by name.
FIELDS: Final = tuple(one.name for one in fields(Budget))
