"""`embedder = "openai:MODEL"`: vectors from OpenAI, or from any server with its embeddings endpoint."""

from __future__ import annotations

from collections.abc import Sequence

from opspawn.errors import ModelError
from opspawn_model_openai.provider import OpenAIProvider

#: The lengths of OpenAI's own vectors; those of others are known once the first is there.
_DIMS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
#: Texts in one request: a server takes 2048 at most, and 300,000 tokens, which 64 KiB texts reach far earlier.
BATCH = 64


class OpenAIEmbedder:
    """Makes vectors of texts. See `opspawn.contracts.memory.Embedder`. Makes no retries."""

    def __init__(self, provider: OpenAIProvider, model: str) -> None:
        self.model = f"openai:{model}"
        self.dim: int | None = _DIMS.get(model)
        self.batch = BATCH
        self._model = model
        self._provider = provider

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        body = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        answer = await self._provider.ask("/embeddings", body, self._model)
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            vectors = [[float(number) for number in row["embedding"]] for row in rows]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"The server's vectors of {self._model!r} cannot be read.",
                remedy="Is this a model for embeddings, and base_url in [plugins.openai] right?",
            ) from error
        if vectors and self.dim is None:
            self.dim = len(vectors[0])
        return vectors

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self._provider.aclose()
