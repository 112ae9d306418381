"""The promises of a model provider, as tests over real HTTP. A provider proves itself by filling two fields:

    class TestAcme(ModelContract):
        server = AcmeServer            # a ModelServer that speaks the provider's protocol, e.g. OpenAIServer

        def open_model(self, base_url, *, timeout_s=30.0, key="") -> ModelProvider:
            return AcmeProvider(base_url=base_url, timeout_s=timeout_s, api_key=key)

A protocol of one's own takes a `Wire` for `opspawn.testing.model_server`; those of OpenAI and Anthropic are there. Each
test is one promise, in the words of its docstring, and most run twice, streamed and not. What the protocol or the
vendor cannot do is taken out of `capabilities`; any other promise is never overridden: a provider that cannot keep one
marks it as an expected failure, with the reason. Nothing here measures time.
"""

from __future__ import annotations

from opspawn.testing.model_promises import ModelSuite
from opspawn.testing.model_promises.answers import AnswerPromises
from opspawn.testing.model_promises.faults import FaultPromises
from opspawn.testing.model_promises.requests import RequestPromises


class ModelContract(AnswerPromises, RequestPromises, FaultPromises):
    """Every promise of a provider that reaches its models over HTTP. Inherit, and give `server` and `open_model`."""


class AnswerContract(AnswerPromises):
    """The promises about answers alone, for providers without a server: inherit, and give `speaking`."""


__all__ = ["AnswerContract", "ModelContract", "ModelSuite"]
