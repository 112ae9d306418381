"""The settings of the memory."""

from __future__ import annotations

from pydantic import Field, SecretStr

from opspawn.contracts.plugins import PluginConfig


class LanceConfig(PluginConfig):
    """The section `[plugins.lancedb]`."""

    uri: str | None = Field(
        default=None,
        min_length=1,
        description="Where the memory is: a folder, or an address of an object store that LanceDB knows, e.g. "
        '"s3://…"; default "memory.lance" in the data folder.',
    )
    storage_options: dict[str, SecretStr] = Field(
        default={}, description='What LanceDB needs to reach an object store, e.g. {region = "eu-central-1"}.'
    )
    busy_timeout_s: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds to wait while another process writes to the memory."
    )
    reranker: str | None = Field(
        default=None,
        min_length=3,
        description='What reads what was found once more, as "module:attribute": an object, or a class that takes no '
        "arguments, with `async def rerank(query, texts)`, which gives a number from 0 to 1 for each text.",
    )
    embedding_cache: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="How many vectors to keep beside the memory, so that a text that comes again is not sent to the "
        "embedder again; forgetting empties it. Not for object stores.",
    )
    index_from: int = Field(
        default=20_000,
        ge=1_000,
        description="From how many vectors on an index is made for them; fewer are compared one by one, exactly.",
    )
    probe: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Which part of the index of vectors a search looks at: less takes less time, and misses more.",
    )
    compact_every: int = Field(
        default=50, ge=2, le=10_000, description="After how many writes small files are merged, and indexes brought up."
    )
    keep_versions_s: float = Field(
        default=60.0,
        ge=10,
        description="Seconds for which earlier versions of the table are kept for those who read; forgetting waits for "
        "nothing and keeps none.",
    )
