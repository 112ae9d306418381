"""The recorded answers of this example: what our scripted server says in place of a model.

Every word is written by hand: the helper's answers in answers.json, the verdicts on the tickets in verdicts.json.
`script` looks at the conversation only, so the same conversation always gets the same answer. `record.py` serves it
over the OpenAI protocol and records what is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opspawn.testing.openai_server import CallTools, Fail, Say, Step

Calls = list[tuple[str, dict[str, Any]]]


def _read(name: str) -> Any:
    return json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


#: What the helper looks up for a question ("queries"), and what it says then ("text").
ANSWERS: dict[str, dict[str, Any]] = _read("answers.json")
VERDICTS: dict[str, dict[str, str]] = {verdict["id"]: verdict for verdict in _read("verdicts.json")}
TICKETS_PER_TURN = 3
TURNS_PER_SEARCH = 2  # so many turns of reading, then one that looks up what the tickets were about

#: What to look up for tickets of a category; for the categories that are not here the priorities suffice.
LOOKUPS = {
    "api-token": "expired token",
    "billing": "double charge refund",
    "data-export": "export data",
    "data-loss": "restore overwritten data",
    "leaked-credential": "leaked token published",
    "lost-device": "stolen laptop",
    "network": "VPN disconnects",
    "offboarding": "leaver access ends",
    "outage": "who to call about an outage",
    "performance": "slow report",
    "phishing": "report phishing",
    "privacy": "delete personal data GDPR",
    "sign-in": "reset link password locked account",
    "single-sign-on": "single sign-on certificate loop",
    "suspicious-sign-in": "suspicious sign-in sessions",
    "webhooks": "webhook deliveries switched off",
}


def script(request: Mapping[str, Any]) -> Step:
    """The next answer in a conversation with either agent; the tools on offer tell which one it is.

    What was never scripted is refused with status 400 and the reason, as a server refuses a request.
    """
    question = next((message["content"] for message in request["messages"] if message["role"] == "user"), "").strip()
    calls = [
        (call["name"], json.loads(call["arguments"]))
        for message in request["messages"]
        for call in message.get("tool_calls") or ()
    ]
    if any(tool["name"] == "read_ticket" for tool in request["tools"]):
        return _triage(question, calls)
    return _help(question, calls)


def _help(question: str, calls: Calls) -> Step:
    known = ANSWERS.get(question)
    if known is None:
        return _refuse(f"The script has no answer to {question!r}.")
    if not calls:
        return CallTools([("search_handbook", {"query": query}) for query in known["queries"]])
    return Say(known["text"])


def _triage(question: str, calls: Calls) -> Step:
    """Read in batches, look up now and then, and answer when every ticket was read."""
    wanted = re.findall(r"[A-Z]+-[0-9]+", question)
    unknown = [id for id in wanted if id not in VERDICTS]
    if unknown or not wanted:
        return _refuse(f"The script has no verdict on {', '.join(unknown) or repr(question)}.")
    read = [arguments["id"] for name, arguments in calls if name == "read_ticket"]
    asked = [arguments["query"] for name, arguments in calls if name == "search_handbook"]
    unread = [id for id in wanted if id not in read]
    if len(read) % (TICKETS_PER_TURN * TURNS_PER_SEARCH) == 0 or not unread:
        topics = [LOOKUPS[VERDICTS[id]["category"]] for id in read if VERDICTS[id]["category"] in LOOKUPS]
        queries = [query for query in dict.fromkeys(topics) if query not in asked]
        if queries:
            return CallTools([("search_handbook", {"query": query, "limit": 2}) for query in queries])
    if not unread:
        return Say(json.dumps([VERDICTS[id] for id in wanted], ensure_ascii=False, indent=1))
    batch: Calls = [("read_ticket", {"id": id}) for id in unread[:TICKETS_PER_TURN]]
    if not read:
        batch.append(("search_handbook", {"query": "priorities P1 P2 P3 P4"}))
    return CallTools(batch)


def _refuse(reason: str) -> Fail:
    return Fail(400, body={"error": {"message": reason, "type": "invalid_request_error"}})
