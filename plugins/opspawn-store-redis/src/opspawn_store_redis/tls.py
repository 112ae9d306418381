"""What a connection by TLS is made of: the files of the section, looked at before anything is connected.

A server shows a certificate that names its host; redis-py before 6 would take one of any other host as well.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from opspawn.errors import StoreUnusable
from opspawn_store_redis.settings import ConnectionConfig


def options(config: ConnectionConfig) -> dict[str, Any]:
    """What redis-py takes, nothing without TLS. Raises: StoreUnusable: a file is not what it should be."""
    if not config.url.startswith("rediss://"):
        return {}
    _refuse_unfit(config)
    files = {"ssl_ca_certs": config.tls_ca, "ssl_certfile": config.tls_cert, "ssl_keyfile": config.tls_key}
    named = {name: path for name, path in files.items() if path is not None}
    return {**named, "ssl_check_hostname": config.tls_check_hostname}


def _refuse_unfit(config: ConnectionConfig) -> None:
    trying = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if (ca := config.tls_ca) is not None:
        _try(lambda: trying.load_verify_locations(ca), f"tls_ca names {ca}, which cannot be used", config)
    if (cert := config.tls_cert) is not None and (key := config.tls_key) is not None:
        what = f"tls_cert and tls_key name {cert} and {key}, which cannot be used"
        _try(lambda: trying.load_cert_chain(cert, key, password=_no_password), what, config)


def _no_password() -> str:
    """Instead of asking for it on the terminal."""
    raise ValueError("the key is encrypted, and nobody is there to type its password")


def _try(load: Callable[[], None], what: str, config: ConnectionConfig) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StoreUnusable(
            f"In {config.section}, {what}: {why}.",
            remedy="Name PEM files that this user may read: certificates, and a key that is not encrypted.",
        ) from error
