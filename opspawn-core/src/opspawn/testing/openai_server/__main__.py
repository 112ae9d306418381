"""`python -m opspawn.testing.openai_server`: the scripted server in a process of its own."""

import sys

from opspawn.testing.model_server.command import main
from opspawn.testing.openai_server import OpenAIServer

if __name__ == "__main__":
    sys.exit(main(OpenAIServer))
