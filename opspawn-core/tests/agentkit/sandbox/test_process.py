"""What a well-meaning tool gets in the sandbox "process", and how its calls begin and end."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gentle_tools as gentle
import pytest
import pytest_asyncio
from leftovers import names_of_processes
from loguru import logger

from opspawn import Agent, Sandbox, details, tool
from opspawn.agentkit.calling import use
from opspawn.agentkit.function_tool import FunctionTool
from opspawn.agentkit.sandbox.process import ProcessRunner
from opspawn.contracts.model import ToolCall
from opspawn.contracts.tool import ToolContext
from opspawn.errors import ConfigError, InvalidInput, ModelRetry, StepTimeout, ToolError
from opspawn.testing import LoopPlanner, ScriptedModel

CALL = ToolContext("run/act/0", "helper", deps={"user": "u-1"})


pytestmark = pytest.mark.asyncio(loop_scope="module")  # templates start once, and belong to a loop


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner() -> AsyncIterator[ProcessRunner]:
    runner = ProcessRunner()
    yield runner
    await runner.aclose()


@pytest.fixture
def call(runner: ProcessRunner) -> Callable[..., Any]:
    """Call a tool, or a function with a sandbox of its own."""

    async def called(thing: Any, sandbox: Sandbox | None = None, context: ToolContext = CALL, **arguments: Any) -> Any:
        made = thing if isinstance(thing, FunctionTool) else tool(effect="read", sandbox=sandbox)(thing)
        return await use(made.placed(made.sandbox or Sandbox(), runner), arguments, context)

    return called


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(4000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("what the test waits for does not come")


# -- what a tool gets --------------------------------------------------------------------------------------------------


async def test_arguments_context_and_results_cross_as_they_would_at_home(call: Any) -> None:
    assert await call(gentle.add, a=1) == 3
    assert await call(gentle.later, day="2024-02-29") == "date 2024"
    assert await call(gentle.who) == ["run/act/0", "helper", {"user": "u-1"}]


async def test_wrong_arguments_are_refused_before_a_process_is_made() -> None:
    runner = ProcessRunner()

    with pytest.raises(InvalidInput, match="'add' do not fit"):
        await gentle.add.placed(Sandbox(), runner).call({"a": "one"}, CALL)

    assert not runner._templates


async def test_no_call_sees_what_another_one_left(call: Any) -> None:
    assert [await call(gentle.count) for _ in range(3)] == [1, 1, 1]


async def test_many_calls_at_a_time_keep_their_answers(call: Any) -> None:
    assert await asyncio.gather(*(call(gentle.add, a=n, b=0) for n in range(12))) == list(range(12))


async def test_a_tool_has_a_folder_of_its_own_and_a_clean_environment(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "hunter2")

    told = await call(gentle.surroundings)

    assert told["files"] == ["note"]
    assert not os.path.exists(told["folder"])  # noqa: ASYNC240
    assert told["environment"]["HOME"] == told["environment"]["TMPDIR"] == told["folder"]
    assert set(told["environment"]) <= {
        "HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "PWD", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "TZ", "USER",
    }  # fmt: skip


async def test_it_gets_variables_that_it_names(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_DATA", "/srv/data")

    assert await call(gentle.variable, name="OPEN_DATA") == "/srv/data"


async def test_it_may_import_more_of_what_is_installed(call: Any) -> None:
    assert await call(gentle.imported_late) == "colorsys"


async def test_it_reads_and_writes_what_it_is_given(call: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note").write_text("hello")
    (tmp_path / "out").mkdir()
    given = Sandbox(read=[tmp_path / "in"], write=[tmp_path / "out"])

    assert await call(gentle.read_text, given, path=str(tmp_path / "in" / "note")) == "hello"
    assert await call(gentle.write_text, given, path=str(tmp_path / "out" / "new"), text="new") == "written"
    assert (tmp_path / "out" / "new").read_text() == "new"
    assert (tmp_path / "out" / "new").stat().st_uid == os.geteuid()
    with pytest.raises(ToolError, match="Permission denied"):
        await call(gentle.write_text, given, path=str(tmp_path / "in" / "note"), text="new")


async def test_a_path_that_is_not_there_is_named(call: Any) -> None:
    with pytest.raises(ToolError, match=r"cannot be built: FileNotFoundError.*'/no/such/folder'") as caught:
        await call(gentle.read_text, Sandbox(read=["/no/such/folder"]), path="/no/such/folder")

    assert caught.value.error_type == "denied"


async def test_it_runs_the_programs_that_it_is_given(call: Any) -> None:
    assert await call(gentle.run_echo, Sandbox(execute=["/bin/echo"])) == "ran\n"


async def test_it_uses_the_network_if_it_may(call: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"hello")

        threading.Thread(target=answer, daemon=True).start()

        assert await call(gentle.ask_port, Sandbox(network=True), port=server.getsockname()[1]) == "hello"


async def test_deps_that_are_not_json_cannot_go_there(call: Any) -> None:
    with pytest.raises(InvalidInput, match="the run's deps, object, cannot go there"):
        await call(gentle.who, context=ToolContext("k", "a", deps=object()))


# -- errors ------------------------------------------------------------------------------------------------------------


async def test_what_it_raises_comes_out_as_at_home(call: Any) -> None:
    with pytest.raises(ModelRetry, match="Try a noun"):
        await call(gentle.fail, how="retry")
    with pytest.raises(ToolError, match=r"^It is lost\.$"):
        await call(gentle.fail, how="tool")
    with pytest.raises(ToolError, match=r"^KeyError: 'size'$"):
        await call(gentle.fail, how="key")


async def test_what_it_prints_and_its_traceback_are_in_the_log_and_not_before_the_model(call: Any) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="DEBUG", format="{message}")
    logger.enable(details.__name__)
    try:
        with pytest.raises(ToolError):
            await call(gentle.fail, how="tool")
    finally:
        logger.remove(sink)
        logger.disable(details.__name__)

    assert any("printed in its sandbox: something went wrong" in line for line in lines)
    assert any("Traceback" in line for line in lines)


async def test_a_module_that_cannot_be_imported_is_named_and_the_next_one_works(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_key.py").write_text(
        "import os\nKEY = os.environ['SOME_KEY']\ndef look() -> str:\n    return KEY\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SOME_KEY", "k")
    import needs_key  # type: ignore[import-not-found]

    with pytest.raises(ToolError, match=r"'needs_key' .* cannot be imported in its sandbox: KeyError: 'SOME_KEY'"):
        await call(needs_key.look)
    sys.modules.pop("needs_key")

    assert await call(gentle.add, a=1) == 3


async def test_calls_in_line_behind_one_that_spoils_the_template_are_carried_out(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks.py").write_text(
        "import os\nif 'PYTEST_VERSION' not in os.environ: 1 / 0\ndef look() -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import breaks  # type: ignore[import-not-found]

    told = await asyncio.gather(call(breaks.look), *(call(gentle.add, a=n) for n in range(4)), return_exceptions=True)
    sys.modules.pop("breaks")

    assert "ZeroDivisionError" in str(told[0])
    assert told[1:] == [2, 3, 4, 5]


async def test_an_app_file_beside_the_path_is_found_by_its_place(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opspawn.app import _import_file

    (tmp_path / "lonely_app.py").write_text("def look() -> str:\n    return 'seen'\n")
    monkeypatch.delitem(sys.modules, "lonely_app", raising=False)
    module = _import_file(tmp_path / "lonely_app.py")
    monkeypatch.setitem(sys.modules, "lonely_app", module)

    assert await call(module.look) == "seen"


# -- how calls end -----------------------------------------------------------------------------------------------------


async def test_a_timeout_ends_the_process_and_its_children(call: Any, runner: ProcessRunner) -> None:
    await call(gentle.add, a=1)  # so that there is a template already

    with pytest.raises(StepTimeout, match=r"did not end within 0\.5 s\.$"):
        await use(gentle.sleep_with_a_child.placed(Sandbox(), runner), {"name": "timed-out"}, CALL, 0.5)

    assert "timed-out" not in names_of_processes()


async def test_a_cancel_ends_the_process_and_its_children(call: Any) -> None:
    run = asyncio.create_task(call(gentle.sleep_with_a_child, name="can-celled"))
    await until(lambda: "can-celled" in names_of_processes())

    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run

    assert "can-celled" not in names_of_processes()


async def test_the_death_of_the_worker_ends_its_tools_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        f"import sys, asyncio; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import gentle_tools\nfrom opspawn import ToolContext\n"
        "asyncio.run(gentle_tools.sleep_with_a_child.call({'name': 'or-phan'}, ToolContext('k', 'a')))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=environment)
    await until(lambda: "or-phan" in names_of_processes())
    assert len(os.listdir(tmp_path)) == 1

    worker.kill()
    await worker.wait()

    await until(lambda: "or-phan" not in names_of_processes())
    await until(lambda: not os.listdir(tmp_path))


async def test_the_event_loop_goes_on_while_a_tool_blocks_its_process(call: Any) -> None:
    run = asyncio.create_task(call(gentle.sleep_with_a_child, name="mean-while"))
    await until(lambda: "mean-while" in names_of_processes())  # on this loop, while the tool sleeps

    assert not run.done()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_template_whose_runner_was_dropped_is_ended() -> None:
    runner = ProcessRunner()
    await use(gentle.add.placed(Sandbox(), runner), {"a": 1}, CALL)
    process = runner._templates[()]._process
    assert process is not None

    del runner
    gc.collect()

    assert process.returncode is not None


async def test_a_template_that_was_killed_is_replaced(call: Any, runner: ProcessRunner) -> None:
    await call(gentle.add, a=1)
    template = runner._templates[()]
    assert template._process is not None
    template._process.kill()
    await asyncio.to_thread(template._process.wait)

    assert await call(gentle.add, a=2) == 4


# -- where agents put their tools --------------------------------------------------------------------------------------


async def test_an_agents_sandbox_holds_for_tools_that_say_nothing() -> None:
    surroundings = tool(effect="read", name="surroundings")(gentle.surroundings.__wrapped__)
    model = ScriptedModel([ToolCall("1", "surroundings", {}), "-"])

    await Agent("a", model=model, planner=LoopPlanner(), tools=[surroundings], sandbox=Sandbox(disk_mb=8)).run("?")

    assert "opspawn-sandbox-" in model.requests[1].messages[-1].content


async def test_a_tool_called_by_itself_is_in_its_sandbox_too() -> None:
    told = await gentle.surroundings.call({}, CALL)

    assert "opspawn-sandbox-" in told["folder"]


async def test_in_the_sandbox_thread_async_functions_do_not_block_the_loop() -> None:
    where: list[int] = []

    @tool(effect="read", sandbox="thread")
    async def blocking() -> int:
        where.append(threading.get_ident())
        return 5

    assert await blocking.call({}, CALL) == 5
    assert where != [threading.get_ident()]


async def test_none_is_as_without_a_sandbox() -> None:
    where: list[int] = []

    @tool(effect="read", sandbox="none")
    async def here() -> int:
        where.append(threading.get_ident())
        return 5

    assert await here.call({}, CALL) == 5
    assert where == [threading.get_ident()]


async def test_a_sandbox_that_nobody_offers_is_named() -> None:
    agent = Agent(
        "a", model=ScriptedModel(["-"]), planner=LoopPlanner(), tools=[gentle.add.__wrapped__], sandbox="cage"
    )

    with pytest.raises(ConfigError, match="There is no sandbox 'cage'"):
        await agent.run("?")
