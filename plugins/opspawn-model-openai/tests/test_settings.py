"""The section `[plugins.openai]`, the environment, and what is refused before any call."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from opspawn.contracts.model import Message, ModelRequest
from opspawn.errors import PluginError
from opspawn.testing.openai_server import Say
from opspawn_model_openai import OpenAIConfig

HELLO = ModelRequest("m", [Message("user", "Hello?")])


def test_without_key_and_server_the_error_names_both_ways_to_give_a_key(open_provider):
    with pytest.raises(PluginError) as caught:
        open_provider()

    assert "OPENAI_API_KEY" in str(caught.value)
    assert "api_key in [plugins.openai]" in str(caught.value)


async def test_a_server_of_ones_own_needs_no_key(serve, open_provider):
    server = await serve(Say("Fine."))

    answer = await open_provider(base_url=server.base_url).complete(HELLO)

    assert answer.text == "Fine."


async def test_key_and_address_come_from_the_environment(serve, open_provider, monkeypatch):
    server = await serve(Say("Fine."))
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")

    await open_provider().complete(HELLO)

    assert server.requests[0]["headers"]["authorization"] == "Bearer sk-from-the-environment"


async def test_the_section_comes_before_the_environment(serve, open_provider, monkeypatch):
    server = await serve(Say("Fine."))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")

    await open_provider(base_url=server.base_url, api_key="sk-from-the-section", organization="org-1").complete(HELLO)

    headers = server.requests[0]["headers"]
    assert (headers["authorization"], headers["openai-organization"]) == ("Bearer sk-from-the-section", "org-1")


async def test_any_server_but_openai_is_spoken_to_in_chat_by_default(serve, open_provider):
    server = await serve(Say("Fine."))

    await open_provider(base_url=server.base_url).complete(HELLO)

    assert server.requests[0]["dialect"] == "chat"


@pytest.mark.parametrize("base_url", [None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
def test_openai_is_spoken_to_in_responses_by_default(open_provider, base_url):
    provider = open_provider(api_key="sk-not-a-key", base_url=base_url)

    assert provider._dialect.path == "/responses"


def test_at_openai_chat_uses_the_newer_name_for_the_limit(open_provider):
    provider = open_provider(api_key="sk-not-a-key", dialect="chat")

    body = provider._dialect.body(ModelRequest("m", HELLO.messages, settings={"max_tokens": 5}), stream=False)

    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"base_url": "localhost:11434"}, "must be an address such as"),
        ({"dialect": "grpc"}, "'auto', 'responses' or 'chat'"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"apikey": "sk-1"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_setting_is_refused(section, words):
    with pytest.raises(ValidationError, match=words):
        OpenAIConfig.model_validate(section)


def test_a_wrong_address_in_the_environment_is_named(open_provider, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost")

    with pytest.raises(PluginError, match="OPENAI_BASE_URL is 'localhost', which is no address"):
        open_provider()


def test_secrets_do_not_show_in_the_section():
    section = OpenAIConfig.model_validate({"api_key": "sk-1234567890", "headers": {"X-Key": "hush-hush"}})

    assert "sk-1234567890" not in repr(section)
    assert "hush-hush" not in repr(section)
    assert "sk-1234567890" not in section.model_dump_json()


async def test_closing_twice_is_no_error_and_a_later_call_opens_anew(serve, open_provider):
    server = await serve(Say("One."), Say("Two."))
    provider = open_provider(base_url=server.base_url)
    await provider.complete(HELLO)

    await provider.aclose()
    await provider.aclose()
    answer = await provider.complete(HELLO)

    assert answer.text == "Two."


TWO_LOOPS = """
import asyncio
from opspawn_model_openai import OpenAIConfig, opspawn_models
from opspawn.contracts.model import Message, ModelRequest
from opspawn.testing.openai_server import OpenAIServer, Say

async def once(text, port=0, provider=None):
    async with OpenAIServer([Say(text)], port=port) as server:
        provider = provider or next(iter(opspawn_models())).open(OpenAIConfig(base_url=server.base_url))
        print((await provider.complete(ModelRequest("m", [Message("user", "Hello?")]))).text)
        return int(server.base_url.split(":")[2].removesuffix("/v1")), provider

port, provider = asyncio.run(once("One."))
asyncio.run(once("Two.", port, provider))
"""


def test_a_script_may_run_one_event_loop_after_another_without_closing():
    """In a process of its own, since the connection of the first loop is lost with it."""
    shown = subprocess.run([sys.executable, "-c", TWO_LOOPS], capture_output=True, text=True, check=False, timeout=60)

    assert shown.stdout.split() == ["One.", "Two."]
    assert (shown.returncode, shown.stderr) == (0, "")


def test_listing_the_plugin_does_not_import_the_client():
    code = "import sys, opspawn_model_openai as p; list(p.opspawn_models()); print('openai' in sys.modules)"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert shown.stdout.strip() == "False"
