"""An MCP server of the older era, in nothing but the standard library, so that it starts at once.

`plain.py STATE`: STATE is a JSON file with what it is to do, read anew at each message; `{"tools": [...]}` names its
tools, the other keys are its vices.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

STATE = Path(sys.argv[1])
LATEST = "2025-11-25"


def state():
    return json.loads(STATE.read_text())


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tool(given):
    told = {"name": given, "description": f"Does {given}.", "inputSchema": {"type": "object"}}
    return told if isinstance(given, str) else {"inputSchema": {"type": "object"}, **given}


def note(line):
    with STATE.with_suffix(".calls").open("a") as file:
        file.write(line + "\n")


def listed(now, params):
    tools = [tool(one) for one in now.get("tools", ["echo"])]
    if now.get("endless"):
        page = int((params or {}).get("cursor") or 0)
        return {"tools": [tool(f"t{page}")], "nextCursor": str(page + 1)}
    size = now.get("page", len(tools) or 1)
    start = int((params or {}).get("cursor") or 0)
    more = {"nextCursor": str(start + size)} if start + size < len(tools) else {}
    return {"tools": tools[start : start + size], **more}


def called(id, now, params):
    name, arguments = params["name"], params.get("arguments") or {}
    note(json.dumps([name, arguments]))
    vice = now.get("call")
    if vice == "die":
        os._exit(3)
    if vice == "silent":
        return
    if vice == "slow":
        time.sleep(now["seconds"])
    if vice == "malformed":
        sys.stdout.write("{" * 10 + "\n")
        sys.stdout.flush()
        return
    if vice == "wrong id":
        return say({"id": 987654, "result": {"content": []}})
    if vice == "wrong shape":
        return say({"id": id, "result": {"content": "text", "isError": 7}})
    if vice == "error":
        return say({"id": id, "error": {"code": -32603, "message": "the disk is full"}})
    if vice == "fails":
        return say({"id": id, "result": {"content": [{"type": "text", "text": "no such row"}], "isError": True}})
    if vice == "noise":
        for number in range(now["lines"]):
            sys.stdout.write(f"noise {number}\n")
    if vice == "large":
        text = "x" * now["bytes"]
        return say({"id": id, "result": {"content": [{"type": "text", "text": text}]}})
    if token := (params.get("_meta") or {}).get("progressToken"):
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1, "total": 2}})
    if now.get("announce"):
        say({"method": "notifications/tools/list_changed"})
    said = now.get("says", {}).get(name) or json.dumps(arguments)
    content = [{"type": "text", "text": said}]
    if name == "environment":
        content = [{"type": "text", "text": json.dumps(dict(os.environ))}]
    if name == "picture":
        content = [{"type": "image", "data": now.get("picture", "iVBORw0KGgo="), "mimeType": "image/png"}]
    say({"id": id, "result": {"content": content}})


def main():
    now = state()
    if now.get("start") == "silent":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if now.get("start") == "die":
        sys.exit("cannot open the database")
    if now.get("start") == "flood":
        while True:
            sys.stdout.write("y" * 100 + "\n")
    if now.get("start") == "one line":
        while True:
            sys.stdout.write("y" * 65536)
    if now.get("child"):
        ready, tell = os.pipe()
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note(f"child {os.getpid()}")
            os.write(tell, b"!")
            time.sleep(600)
            os._exit(0)
        os.read(ready, 1)
    note(f"start {os.getpid()}")
    for line in sys.stdin:
        message = json.loads(line)
        id, method, params, now = message.get("id"), message.get("method"), message.get("params"), state()
        if method == "initialize":
            info = {"name": "plain", "version": "1"}
            capabilities = {"tools": {"listChanged": True}}
            told = {"protocolVersion": LATEST, "capabilities": capabilities, "serverInfo": info}
            say({"id": id, "result": told})
        elif method == "tools/list":
            note("list")
            say({"id": id, "result": listed(now, params)})
        elif method == "tools/call":
            called(id, now, params)
        elif method == "notifications/cancelled":
            note("cancelled")
        elif id is not None:
            say({"id": id, "error": {"code": -32601, "message": "unknown method"}})
    if now.get("end") == "stays":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)


main()
