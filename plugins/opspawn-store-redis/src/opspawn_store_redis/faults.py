"""What a fault of a server means: in one sentence, with the section to correct and the remedy."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

import redis
import redis.asyncio.sentinel
import redis.sentinel

from opspawn.errors import OpspawnError, StoreError
from opspawn_store_redis import connections
from opspawn_store_redis.settings import ConnectionConfig

#: What an ACL user of ours must be allowed, as the documentation says.
ALLOWED = "~osp:* ~arq:* &osp:* +@all -@dangerous +info +config|get +client|list"
#: How a server says that its user may not, to a client and to a function of ours; the last is Redis 7.0.
_FORBIDDEN = ("NOPERM", "ACL failure in script", "The user executing the script can't")


def as_store_error(error: Exception, config: ConnectionConfig, *, writing: bool = True) -> Exception:
    """What callers get to see: our own errors as they are, everything else as a `StoreError` that names the cause.

    `writing` says whether the call might have changed something on the server.
    """
    if isinstance(error, OpspawnError):
        return error
    server, said = connections.shown(config), (str(error) or type(error).__name__).rstrip(".")
    if isinstance(error, UnicodeError):
        return StoreError(f"A name holds what is no text: {error}.")
    if said.startswith(_FORBIDDEN) or isinstance(error, redis.exceptions.NoPermissionError):
        return StoreError(f"The user of {server} may not do this: {said}.", remedy=f'Allow it "{ALLOWED}".')
    if isinstance(error, redis.exceptions.AuthenticationError):
        return StoreError(
            f"The server {server} refuses the user or the password: {said}.",
            remedy=f"Correct username and password in {config.section}.",
        )
    if isinstance(error, redis.exceptions.OutOfMemoryError) or said.startswith("OOM"):
        return StoreError(
            f"The memory of {server} is used up.", remedy="Raise maxmemory, or delete by `opspawn store prune`."
        )
    if said.startswith("READONLY") or isinstance(error, redis.exceptions.ReadOnlyError):
        return StoreError(
            f"The server {server} is a replica, and takes no writes.",
            remedy=f"Promote it, or name the master, or Sentinels that know it, in {config.section}.",
        )
    if said.startswith("NOREPLICAS"):
        return StoreError(
            f"Too few replicas keep up with {server}, so it takes no writes.",
            remedy="Start its replicas, or lower its min-replicas-to-write.",
        )
    if said.startswith("MISCONF"):
        return StoreError(f"{server} cannot write to its disk: {said}.", remedy="Free space, or see the server's log.")
    if "DB index is out of range" in said:
        return StoreError(
            f"The server {server} has no database of that number.",
            remedy=f"Correct the end of url in {config.section}; it has as many as its setting `databases` says.",
        )
    if (tls := next(_tls_faults(error), None)) is not None:
        return StoreError(f"No TLS connection to {server}: {tls}.", remedy=_tls_remedy(str(tls), config))
    if isinstance(error, redis.sentinel.MasterNotFoundError | redis.asyncio.sentinel.MasterNotFoundError):
        why = re.sub(r"<redis\S+\(.*?\)>\)>\)> - ", "", said.partition(" : ")[2]) or "it is not watched, or it is down"
        return StoreError(
            f"No Sentinel tells where {server} is: {why}.",
            remedy=f"Correct sentinels or sentinel_master in {config.section}{_other_scheme(said, config)}.",
        )
    if connections.is_passing(error):
        place = "sentinels" if config.sentinels else "url"
        after = "; a write that was under way may have been applied." if writing else "."
        return StoreError(
            f"The server {server} cannot be reached: {said}.",
            remedy=f"Start it, or correct {place} in {config.section}{_other_scheme(said, config)}{after}",
        )
    return StoreError(f"The server {server} failed: {said}.")


def _other_scheme(said: str, config: ConnectionConfig) -> str:
    """What else it may be where a server is there, and does not understand."""
    ended = "closed by server" in said or "reset by peer" in said
    if config.url.startswith("redis://") and ended:
        return ', or if it speaks TLS, write "rediss://"'
    if config.url.startswith("rediss://") and "Timeout" in said:
        return ', or if it speaks no TLS, write "redis://"'
    if config.url.startswith("rediss://") and ended:
        return ", or if it asks for a certificate, give one that it trusts as tls_cert and tls_key"
    return ""


def _tls_faults(error: BaseException | None) -> Iterator[ssl.SSLError]:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            yield error
        error = error.__cause__ or error.__context__


def _tls_remedy(said: str, config: ConnectionConfig) -> str:
    if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER" in said.replace(" ", "_").upper():
        return f'The server seems to speak no TLS there: write its TLS port, or "redis://", in url of {config.section}.'
    if "mismatch" in said:
        return (
            f"Connect by a name in its certificate, in url of {config.section}; or set tls_check_hostname = false "
            "there, and whoever holds any certificate that you trust may pass for it."
        )
    if "ALERT" in said.upper() and ("CERTIFICATE" in said.upper() or "UNKNOWN_CA" in said):
        return f"Give a certificate that the server trusts as tls_cert and tls_key in {config.section}."
    trusts = f"the file {config.tls_ca} and the system's certificates" if config.tls_ca else "the system's certificates"
    return (
        f"Give a PEM file with the certificate that signed the server's as tls_ca in {config.section} (now {trusts} "
        "are trusted)."
    )
