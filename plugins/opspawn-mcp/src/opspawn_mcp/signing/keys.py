"""The key that seals tokens: from the configuration, or from a file that only its owner may read."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from opspawn.errors import ConfigError
from opspawn_mcp.signing.settings import TokensConfig

_USE = b"opspawn-mcp tokens 1"
_SHORTEST = 32


def sealer(config: TokensConfig, root: Path, *, make: bool) -> Fernet | None:
    """What seals and opens; None where there is no key yet and `make` is false. Raises: ConfigError."""
    if config.encryption_key is not None:
        return _derived(config.encryption_key.get_secret_value().encode())
    path = _path(config, root)
    held = _read(path)
    if held is None and make:
        _make(path)
        held = _read(path)  # of two that made it at once, one has won
    return None if held is None else _derived(held)


def _path(config: TokensConfig, root: Path) -> Path:
    if config.key_file is not None:
        return root / config.key_file.expanduser()
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "opspawn" / "mcp-tokens.key"


def _read(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(4096).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"The key of MCP tokens, {path}, cannot be read: {error.strerror}.") from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(
            f"The key of MCP tokens, {path}, is open to others than its owner.",
            remedy=f"Run: chmod 600 {path}; and sign in anew if somebody may have read it.",
        )
    if len(data) < _SHORTEST:
        raise ConfigError(
            f"The key of MCP tokens, {path}, has fewer than {_SHORTEST} characters.",
            remedy="Delete it to have one made, and sign in anew.",
        )
    return data


def _make(path: Path) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(base64.urlsafe_b64encode(os.urandom(32)) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(part, path)  # unlike a rename, it never replaces a key that another process has just made
        except FileExistsError:
            return
        finally:
            os.unlink(part)
    except OSError as error:
        words = f"The key of MCP tokens, {path}, cannot be made: {error.strerror}."
        raise ConfigError(words, remedy="Set plugins.mcp.tokens.encryption_key or key_file.") from error


def _derived(secret: bytes) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_USE).derive(secret)
    return Fernet(base64.urlsafe_b64encode(derived))
