"""Tables of tables, as plugins have them: `[plugins.NAME.things.NAME]`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field

from opspawn.config.checks import build
from opspawn.config.loaded import Text
from opspawn.errors import ConfigError


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    size: int = Field(1, ge=1)
    careful: bool = False


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")

    things: dict[str, Thing] = {}


def made(values: dict[str, Any]) -> Section:
    return build(Section, {"things": {"a": values}}, prefix="plugins.x.", origin=lambda key: "opspawn.toml")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sice": 2}, "there is no setting 'plugins.x.things.a.sice'. Did you mean 'plugins.x.things.a.size'?"),
        ({"colour": 2}, "[plugins.x.things.a] takes careful, size."),
        ({"size": 0}, "plugins.x.things.a.size must be at least 1, not 0. Correct it, or leave it out for 1."),
    ],
)
def test_a_mistake_in_an_inner_table_is_told_with_its_remedy(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        made(values)

    assert words in str(raised.value)


def test_texts_of_variables_are_read_as_the_inner_setting_wants() -> None:
    assert made({"size": Text("7"), "careful": Text("yes")}).things["a"] == Thing(size=7, careful=True)
