"""Signing in in the middle of a run: a durable question with the address, answered with where the browser ended."""

from __future__ import annotations

import httpx2
from mcp.client.auth import OAuthFlowError

from opspawn.agentkit.questions import make_question
from opspawn.contracts.tool import ToolContext
from opspawn.errors import Denied
from opspawn_mcp.faults import short
from opspawn_mcp.signing.code import CodeSigner
from opspawn_mcp.signing.needed import SignInNeeded

#: What a call notes: that it waits for somebody to sign in, and so has not been sent; and that it may be sent now.
WAITS, GOES = {"mcp": "sign-in"}, {"mcp": "signed-in"}
#: How often one call asks.
MOST_ROUNDS = 8


async def sign_in(signer: CodeSigner, needed: SignInNeeded, context: ToolContext, fault: str = "") -> str:
    """Ask somebody to sign in; gives why that did not do, or nothing if it did. `fault` is of the time before.

    Raises: SignInNeeded: nobody can be asked. Denied: whoever was asked will not.
    """
    if context.ask is None:
        raise needed
    await _note(context, WAITS)
    said = (await context.ask(make_question(_words(signer, needed, fault), None, {"type": "string"}))).value.strip()
    if said.lower() in ("no", "deny", "decline"):
        raise Denied(f"The MCP server {signer.server!r} was not called: nobody signed in.")
    try:
        if said.lower() != "done":
            await signer.complete(said)
    except (OAuthFlowError, httpx2.HTTPError) as error:
        return f"That did not do: {short(str(error))}."
    if not signer.signed_in:
        return "Nobody has signed in yet."
    signer.fault = None
    await _note(context, GOES)
    return ""


def waits(context: ToolContext) -> bool:
    """Whether a call that was cut off waited for somebody to sign in, and so had not been sent."""
    notes = context.notes.read() if context.notes is not None else ()
    return bool(notes) and notes[-1] == WAITS


async def _note(context: ToolContext, note: dict[str, str]) -> None:
    if context.notes is not None and context.notes.read()[-1:] != (note,):
        await context.notes.write(note)


def _words(signer: CodeSigner, needed: SignInNeeded, fault: str) -> str:
    return (
        f"{fault} The MCP server {signer.server!r} needs somebody to sign in. Open this address, and answer with the"
        f" one at which your browser ends, which begins with {signer.config.redirect_uri} and may fail to open; or run"
        f" 'opspawn mcp login {signer.server}' and answer done; or answer no. {needed.address}"
    ).strip()
