"""`opspawn init`: the smallest app that does something."""

from __future__ import annotations

from pathlib import Path

import click

from opspawn.errors import ConfigError

_APP = '''"""An agent with one tool. Talk to it: opspawn chat"""

from opspawn import Agent, App, tool


@tool(effect="read")
async def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


helper = Agent("helper", tools=[multiply], instructions="Answer briefly. Use your tools to calculate.")
app = App(agents=[helper])
'''

_EVALS = """# How well does it answer? opspawn eval evals.yaml
agent: helper
scorers: [contains]
cases:
  - {name: product, input: What is 7 times 6?, expected: "42"}
  - {name: words, input: How much is a dozen dozens?, expected: "144"}
"""

_CONFIG = """# See 'opspawn config show --sources' for every setting and where it comes from.
app = "app:app"

# The model of agents that name none, as PROVIDER:MODEL. The environment's OPSPAWN_MODEL overrides it.
model = "openai:gpt-5"

# For a server that speaks the OpenAI protocol (Ollama, vLLM, llama.cpp, OpenRouter):
# [plugins.openai]
# base_url = "http://127.0.0.1:11434/v1"
"""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def init(folder: Path) -> None:
    """Write app.py, opspawn.toml and evals.yaml into FOLDER (the current one by default). Nothing that exists is
    touched.
    """
    files = {folder / "app.py": _APP, folder / "opspawn.toml": _CONFIG, folder / "evals.yaml": _EVALS}
    there = [str(path) for path in files if path.exists()]
    if there:
        raise ConfigError(f"{', '.join(there)} exists already.", remedy="Choose an empty folder: opspawn init FOLDER.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be written: {error.strerror}.", remedy="Choose another folder."
        ) from error
    click.echo(f"Wrote {', '.join(str(path) for path in files)}. Next:")
    if folder != Path("."):
        click.echo(f"  cd {folder}")
    click.echo('  opspawn run helper "What is 7 times 6?"   (needs OPENAI_API_KEY, or a base_url in opspawn.toml)')
    click.echo("  opspawn chat          talk to it")
    click.echo("  opspawn eval evals.yaml")
    click.echo("  opspawn serve")
