"""The functions that the server runs: one library of Lua, whose name tells its text, so that two versions of this
package may share a server.

A function is there for good, and what it declares is made once, where a script (`EVALSHA`) makes it anew for each call.
While a library is loaded a server gives it nothing but a way to register, so all is made by the first call.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Literal

#: "freeing" is a commit that a server may do whose memory is used up, and "probe" an "era" that it may not.
Function = Literal["commit", "freeing", "claim", "renew", "era", "probe", "find", "events", "read", "kept", "rights"]

WRITES = ("commit", "claim", "renew", "era")
READS = ("find", "events", "read", "kept", "rights")
_PARTS = ("base", "journal", "write", "checks", "tasks", "others", "restoring", "claiming", "handing", *WRITES, *READS)


#: What the flags below are called in the name of the library, for each change of them is another library, too.
_FLAGS = "3"


@cache
def library() -> str:
    """The whole library, as `FUNCTION LOAD` takes it."""
    folder = files("opspawn_store_redis") / "lua"
    text = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)
    name = f"opspawn_{hashlib.sha1(f'{_FLAGS}{text}'.encode(), usedforsecurity=False).hexdigest()[:12]}"
    registered = [_registered(name, one, "allow-oom" if one == "era" else "") for one in WRITES]
    registered.append(_registered(name, "commit", "allow-oom", "freeing"))
    registered.append(_registered(name, "era", "", "probe"))
    registered += [_registered(name, one, "no-writes") for one in READS]
    made = f"local ops\nlocal function make()\nlocal ops = {{}}\n{text}\nreturn ops, open\nend\nlocal open\n"
    return f"#!lua name={name}\n{made}" + "\n".join(registered)


def _registered(library: str, name: str, flag: str, shown: str | None = None) -> str:
    """The lines that make a function known: by its library, since a name is one for all libraries of a server."""
    flags = f"'{flag}'" if flag else ""
    return (
        f"redis.register_function{{function_name = '{library}_{shown or name}', flags = {{{flags}}}, "
        f"callback = function(keys, argv)\n  if not ops then ops, open = make() end\n  open(keys, argv)\n"
        f"  return ops.{name}()\nend}}"
    )


@cache
def function(name: Function) -> str:
    """What `FCALL` calls it."""
    return f"{library().partition('name=')[2].partition(chr(10))[0]}_{name}"
