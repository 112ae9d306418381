"""Answers as JSON, whatever a model or a tool has put into a result."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse


class JsonAnswer(JSONResponse):
    """JSON in UTF-8. Half of a surrogate pair, which UTF-8 cannot express, stays the escape that it came as."""

    def render(self, content: Any) -> bytes:
        return json_of(content).encode("utf-8", "backslashreplace")


def json_of(content: Any) -> str:
    """JSON on one line, of plain data or of a model by its aliases."""
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json", by_alias=True)
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
