"""Schedules of the configuration, as tables `[schedules.NAME]`."""

from __future__ import annotations

from opspawn.config import Loaded
from opspawn.errors import ConfigError, InvalidInput, NotFound
from opspawn.ops.schedules.records import of_settings
from opspawn.ops.schedules.schedules import StoredSchedules


async def keep_configured(schedules: StoredSchedules, loaded: Loaded) -> None:
    """Make or change what the configuration names; what it names no more stays, since others may share the store.

    Raises: ConfigError: names the table. StoreError.
    """
    for name, settings in loaded.settings.schedules.items():
        try:
            await schedules.add(of_settings(name, settings), source="config")
        except (InvalidInput, NotFound) as error:
            table = f"schedules.{name}"
            if isinstance(error, InvalidInput) and error.argument is not None:
                told = error.named(f"{table}.{error.argument.removesuffix('_s')}").message
            else:
                told = f"{table}: {error.message}"
            raise ConfigError(f"{loaded.file or 'The configuration'}: {told}", remedy=error.remedy) from None
