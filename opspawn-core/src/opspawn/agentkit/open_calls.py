"""Which tools a run has been asked to call and has not yet answered: so that each begin is told with one end."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opspawn.agentkit.output import ANSWER
from opspawn.agentkit.plain import as_text
from opspawn.contracts.model import ToolCall
from opspawn.contracts.run_events import Failure, RunEvent, ToolCallEnded, ToolCallStarted

Data = Mapping[str, Any]
#: The key of the step of a call: the n-th of what a model asked for in a scope.
_KEY = re.compile(r"(?P<scope>(?:.*/)?)act(?:#\d+)?/(?P<place>\d+)(?:/policy|/refused)?")

_DROPPED = "It was not carried out."


class OpenCalls:
    """The calls of one run. Scopes are those of the run's keys, since branches think and act beside one another."""

    def __init__(self) -> None:
        self._asked: dict[str, list[ToolCall]] = {}
        self._open: list[tuple[str, ToolCall]] = []
        self._looked_at: dict[str, tuple[int, ToolCallEnded]] = {}

    def asked(self, key: str, calls: Sequence[ToolCall], stamp: Data) -> list[RunEvent]:
        """A model wants calls; those of `final_answer` are its answer and no calls."""
        scope = _scope_of(key)
        real = self._asked[scope] = [call for call in calls if not is_answer(call)]
        self._open += [(scope, call) for call in real]
        return [ToolCallStarted(call=call.id, tool=call.name, arguments=call.arguments, **stamp) for call in real]

    def ended(self, key: str, name: str, result: Any, took_s: float, stamp: Data) -> list[RunEvent]:
        """A call has an outcome, as `result_to_json` writes it, or as an operator gave it."""
        said = isinstance(result, Mapping) and "content" in result
        known: Mapping[str, Any] = result if said else {"content": as_text(result)}
        content, id = str(known["content"]), known.get("call_id")
        outcome = {
            "content": content,
            "result": content if known.get("value_is_content") else known.get("value"),
            "is_error": bool(known.get("is_error")),
            "error_type": known.get("error_type"),
            "duration_s": took_s,
        }
        events = self._close(key, id, name, outcome, stamp, known.get("arguments"))
        if not (looks := known.get("looks")):
            return events
        *began, end = events
        assert isinstance(end, ToolCallEnded)
        self._looked_at[key] = (looks, end)
        return began

    def looked_at(self, key: str, result: Any) -> list[RunEvent]:
        """A guardrail, whose step has the key, has let a result pass; with the last of them the call is over."""
        step = key.rpartition("/guard/")[0]
        if step not in self._looked_at:
            return []
        left, end = self._looked_at.pop(step)
        if isinstance(result, Mapping) and "value" in result:
            end = replace(end, content=as_text(result["value"]), result=result["value"])
        if left == 1:
            return [end]
        self._looked_at[step] = (left - 1, end)
        return []

    def held_back(self, key: str, words: str) -> list[RunEvent]:
        """A guardrail, whose step has the key, has held a result back."""
        _, end = self._looked_at.pop(key.rpartition("/guard/")[0], (0, None))
        if end is None:
            return []
        return [replace(end, content=words, result=None, is_error=True, error_type="denied")]

    def failed(self, data: Data, words: str, stamp: Data) -> list[RunEvent]:
        """A call failed for good, or was denied; nothing where the step is no call."""
        if _KEY.fullmatch(data["key"]) is None:
            return []
        kind = str((data.get("error") or {}).get("type") or "error")
        outcome = {"content": words, "is_error": True, "error_type": kind, "duration_s": data.get("duration_s")}
        return self._close(data["key"], None, data["name"], outcome, stamp)

    def refused(self, data: Data, stamp: Data) -> list[RunEvent]:
        """A call could not even begin: there is no such tool, or its arguments are no JSON."""
        outcome = {"content": data.get("words", ""), "is_error": True, "error_type": data.get("why")}
        return self._close(data["key"], data.get("call"), data.get("name", ""), outcome, stamp)

    def answered(self, key: str, result: Any, error: Failure | None, stamp: Data) -> list[RunEvent]:
        """An agent that was called as a tool has answered."""
        found = self._at(key)
        if found is None:
            return []
        if error is None:
            return self._close(key, found.id, found.name, {"content": as_text(result), "result": result}, stamp)
        outcome = {"content": error.message, "is_error": True, "error_type": error.type}
        return self._close(key, found.id, found.name, outcome, stamp)

    def handed_over(self, to: str, stamp: Data) -> list[RunEvent]:
        """The call that is left asked for another agent, which goes on."""
        return self._all(None, stamp, content=f"{to!r} goes on with this conversation.")

    def planned(self, stamp: Data) -> list[RunEvent]:
        """The calls that are left gave a plan, which is taken."""
        return self._all(None, stamp, content="It is the plan.")

    def dropped(self, key: str | None, stamp: Data) -> list[RunEvent]:
        """The model is asked anew, at `key`, or the run is over: what is open yet was not carried out."""
        scope = None if key is None else _scope_of(key)
        return self._all(scope, stamp, content=_DROPPED, is_error=True, error_type="dropped")

    def _all(self, scope: str | None, stamp: Data, **outcome: Any) -> list[RunEvent]:
        unseen = [replace(end, content="", result=None) for _, end in self._looked_at.values()]
        self._looked_at.clear()  # nobody will look any more
        over = [one for one in self._open if scope is None or one[0] == scope]
        if over:
            self._open = [one for one in self._open if one not in over]
        return [*unseen, *(ToolCallEnded(call=call.id, tool=call.name, **outcome, **stamp) for _, call in over)]

    def _close(
        self, key: str, id: str | None, name: str, outcome: Data, stamp: Data, arguments: Data | None = None
    ) -> list[RunEvent]:
        call = self._named(id, name) if id else None
        call = call or self._at(key)
        began: list[RunEvent] = []
        if call is None:  # a model that writes its calls as text, or a planner's own idea
            call = ToolCall(id or key, name)
            began = [ToolCallStarted(call=call.id, tool=name, arguments=arguments, **stamp)]
        else:
            place = next(n for n, (_, one) in enumerate(self._open) if one is call)
            del self._open[place]
        return [*began, ToolCallEnded(call=call.id, tool=call.name, **outcome, **stamp)]

    def _named(self, id: str, name: str) -> ToolCall | None:
        return next((call for _, call in self._open if call.id == id and call.name == name), None)

    def _at(self, key: str) -> ToolCall | None:
        """The open call whose step has this key."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        asked, place = self._asked.get(found["scope"], []), int(found["place"])
        call = asked[place] if place < len(asked) else None
        return call if any(one is call for _, one in self._open) else None


def is_answer(call: ToolCall) -> bool:
    """Whether a call is the model's answer, in the form of one."""
    return call.name.startswith(ANSWER)


def _scope_of(key: str) -> str:
    head, slash, _ = key.rpartition("/")
    return head + slash
