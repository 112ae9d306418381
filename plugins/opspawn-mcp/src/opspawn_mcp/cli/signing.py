"""`opspawn mcp login` and `logout`: sign in to a remote server as a person, and be forgotten again."""

from __future__ import annotations

import asyncio
import sys
import threading
import webbrowser
from contextlib import AsyncExitStack
from urllib.parse import parse_qs, urlsplit

import click
import httpx2
from mcp.client.auth import OAuthFlowError

from opspawn.cli.output import json_option, print_json, print_text, say
from opspawn.errors import InvalidInput
from opspawn_mcp.cli.opening import fleet, run
from opspawn_mcp.faults import ServerFault, short
from opspawn_mcp.fleet import Fleet, Member
from opspawn_mcp.signing.code import CodeSigner
from opspawn_mcp.signing.loopback import listening
from opspawn_mcp.signing.needed import SignInNeeded


@click.command("login")
@click.argument("server")
@click.option("--no-browser", is_flag=True, help="Print the address, and open nothing.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), default=600.0, help="Seconds to wait; 600.")
@json_option
@click.pass_context
def login(context: click.Context, server: str, no_browser: bool, timeout_s: float, as_json: bool) -> None:
    """Sign in to SERVER in a browser. The tokens are kept, sealed, for all processes with this configuration.

    Without a browser on this machine, open the address elsewhere, and type in the address at which that browser ends;
    it begins with http://127.0.0.1, and may fail to open there.
    """
    context.exit(run(_login(server, not no_browser, timeout_s, as_json)))


@click.command("logout")
@click.argument("server")
@click.pass_context
def logout(context: click.Context, server: str) -> None:
    """Forget who signed in to SERVER, and have its authorization server take the tokens back, if it can."""
    context.exit(run(_logout(server)))


async def _login(name: str, browser: bool, timeout_s: float, as_json: bool) -> int:
    async with fleet() as found:
        member, signer = _signer(found, name)
        needed = await _needed(member)
        if needed is not None:
            try:
                await _signed_in(signer, needed, browser, timeout_s)
            except TimeoutError:
                raise ServerFault(name, f"nobody signed in within {timeout_s:g} s", error_type="timeout") from None
            except (OAuthFlowError, httpx2.HTTPError) as error:
                raise ServerFault(name, f"nobody is signed in: {short(str(error))}", error_type="denied") from error
            if (again := await _needed(member)) is not None:
                raise ServerFault(name, "it does not take the tokens that it asked for", error_type="denied") from again
            await found.audit.note("login", {"by": found.audit.by, "server": name})
        tools = len(member.names())
        kept = signer.signed_in
        if as_json:
            print_json({"server": name, "signedIn": kept, "tools": tools})
        else:
            words = "You are signed in to" if kept else "Nothing was kept, since nobody has to sign in to"
            print_text(f"{words} {name}. It has {tools} tools.")
        return 0


async def _logout(name: str) -> int:
    async with fleet() as found:
        _, signer = _signer(found, name)
        print_text(await signer.forget())
        await found.audit.note("logout", {"by": found.audit.by, "server": name})
        return 0


async def _needed(member: Member) -> SignInNeeded | None:
    try:
        await member.server.ready()
    except SignInNeeded as needed:
        return needed
    return None


async def _signed_in(signer: CodeSigner, needed: SignInNeeded, browser: bool, timeout_s: float) -> None:
    """Wait for the browser, or for an address that is typed in, and end the sign-in with it."""
    state = parse_qs(urlsplit(needed.address).query)["state"][0]
    print_text(f"Sign in here:\n\n  {needed.address}\n")
    async with AsyncExitStack() as stack:
        came: list[asyncio.Future[str]] = [_typed()]
        try:
            came.append(await stack.enter_async_context(listening(signer.config.redirect_uri, state)))
        except OSError as error:
            say(f"Nobody can listen at {signer.config.redirect_uri} here: {error.strerror}.")
        if browser:
            threading.Thread(target=webbrowser.open, args=(needed.address,), daemon=True).start()
        say("Waiting for the browser; or type in the address at which it ends.")
        async with asyncio.timeout(timeout_s):
            done, _ = await asyncio.wait(came, return_when=asyncio.FIRST_COMPLETED)
            await signer.complete(done.pop().result())


def _typed() -> asyncio.Future[str]:
    """The first line that is typed in; a thread of its own reads it, which holds nobody up."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def tell(line: str) -> None:
        if not typed.done():
            typed.set_result(line)

    def read() -> None:
        for line in sys.stdin:
            if line.strip() and not loop.is_closed():
                loop.call_soon_threadsafe(tell, line.strip())
                return

    threading.Thread(target=read, daemon=True).start()
    return typed


def _signer(found: Fleet, name: str) -> tuple[Member, CodeSigner]:
    member = found.member(name)
    if member.signer is None:
        raise InvalidInput(
            f"Nobody signs in to the MCP server {name!r}.",
            remedy=f'Set plugins.mcp.servers.{name}.auth = {{type = "authorization_code"}}.',
        )
    return member, member.signer
