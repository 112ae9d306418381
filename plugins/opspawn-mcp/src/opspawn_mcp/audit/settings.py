"""The section `[plugins.mcp.audit]`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

_SHORTEST_KEY = 32


class AuditConfig(BaseModel):
    """What is kept of calls and decisions, where, for how long, and what happens where it cannot be."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    enabled: bool = Field(default=True, description="Whether calls and decisions are recorded.")
    folder: Path = Field(default=Path("mcp-audit"), description="The log; relative to the folder of opspawn.toml.")
    arguments: Literal["digest", "clamped"] = Field(
        default="digest",
        description="What is kept of arguments: their digest, or besides their first 1,000 characters, redacted.",
    )
    on_failure: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="When nothing can be recorded: calls are refused, or made, with an error in the logs.",
    )
    signing_key: SecretStr | None = Field(
        default=None,
        description="Chains the records by an HMAC, 32 characters or more: only who has it can make a chain that fits.",
    )
    sync: bool = Field(default=False, description="Whether each record is on disk before the call is made (fsync).")
    keep_days: int | None = Field(
        default=365, ge=1, le=36_500, description="Days after which records go, by files; unset for ever."
    )
    max_bytes: int = Field(
        default=256 << 20, ge=1 << 20, le=1 << 40, description="How large the log becomes before its oldest files go."
    )

    @field_validator("signing_key")
    @classmethod
    def _is_long(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(f"has fewer than {_SHORTEST_KEY} characters; 'openssl rand -base64 32' makes one")
        return key
