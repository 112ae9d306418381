"""Redis and Valkey as the store of Opspawn, and arq as its waker: `store = "redis"`, `waker = "arq"`."""

from opspawn_store_redis.plugin import opspawn_stores, opspawn_wakers
from opspawn_store_redis.settings import ArqConfig, RedisConfig

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = ["OPSPAWN_PLUGIN_API", "ArqConfig", "RedisConfig", "opspawn_stores", "opspawn_wakers"]
