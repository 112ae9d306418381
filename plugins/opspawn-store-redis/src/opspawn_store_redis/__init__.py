"""Redis and Valkey as the store of Opspawn, and arq as its waker: `store = "redis"`, `waker = "arq"`."""

from opspawn_store_redis.plugin import opspawn_stores
from opspawn_store_redis.settings import RedisConfig

OPSPAWN_PLUGIN_API = ">=1,<2"

__all__ = ["OPSPAWN_PLUGIN_API", "RedisConfig", "opspawn_stores"]
