"""What one can type in a conversation besides what is said: /help, /tools, /model, /usage, /session, /exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from opspawn.agentkit.codec import usage_from_json
from opspawn.cli.output import say
from opspawn.contracts.model import Usage

if TYPE_CHECKING:
    from opspawn.agentkit import Agent
    from opspawn.cli.room import Beside, Room

HELP = {
    "/help": "this list",
    "/tools": "the tools of the agent",
    "/model [PROVIDER:MODEL]": "the model, or another one from here on",
    "/usage": "what this conversation has cost so far",
    "/session": "its id, to go on with it later",
    "/exit": "leave; so does Ctrl-D",
}


class Commands:
    """Carries out what begins with a slash."""

    def __init__(self, beside: Beside, room: Room, agent: Agent[Any, Any], usual: str, model: str | None) -> None:
        """Take what they act on. `usual` names the agent's model in words, `model` is the one asked for instead."""
        self._beside = beside
        self._room = room
        self._agent = agent
        self._usual = usual
        self._model = model

    @property
    def model(self) -> str:
        """The model that answers, in words."""
        return self._model or self._usual

    def obey(self, line: str) -> Literal["stay", "leave"]:
        """Do it. Raises: what another model raises; the conversation goes on with the former."""
        word, _, rest = line.strip().partition(" ")
        match word:
            case "/exit" | "/quit":
                return "leave"
            case "/help":
                for name, meaning in HELP.items():
                    say(f"  {name:<24} {meaning}")
                say("  Ctrl-C cuts an answer off, to be gone on with later. //word says /word to the agent.")
            case "/tools":
                say("\n".join(f"  {name}" for name in self._agent.tool_names) or "  It has no tools.")
            case "/model":
                self._use(rest.strip())
            case "/usage":
                answers = self._beside.run(self._room.answers())
                total = sum((usage_from_json(event.data.get("usage") or {}) for event in answers), Usage())
                own = sum(event.data.get("agent") == self._agent.name for event in answers)
                say(f"  {own} {'answer' if own == 1 else 'answers'}: {tokens_of(total)}")
            case "/session":
                say(f"  {self._room.session}")
            case _:
                say(f"  There is no {word}. /help lists what there is.")
        return "stay"

    def _use(self, model: str) -> None:
        if not model:
            say(f"  {self.model}")
            return
        self._beside.run(self._room.aclose())
        try:
            self._beside.run(self._room.open(model))
        except Exception:
            self._beside.run(self._room.open(self._model))
            raise
        self._model = model
        say(f"  {model} answers from here on.")


def tokens_of(usage: Usage) -> str:
    """Usage in words."""
    cost = "" if usage.cost is None else f", ${usage.cost:.4f}"
    return f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out{cost}"
