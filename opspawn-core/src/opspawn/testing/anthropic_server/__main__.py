"""`python -m opspawn.testing.anthropic_server`: the scripted server in a process of its own."""

import sys

from opspawn.testing.anthropic_server import AnthropicServer
from opspawn.testing.model_server.command import main

if __name__ == "__main__":
    sys.exit(main(AnthropicServer))
