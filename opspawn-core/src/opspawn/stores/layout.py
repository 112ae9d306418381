"""What the database looks like. Its number is raised by whatever an older program would not understand.

Times are integers, microseconds since 1970, so that they come back exactly. `tasks.seq` is the order of creation and
stands for the task in `events`, where 0 means no task. Small and often changed columns come first: what is large lies
behind them. A position is one more than the highest so far, given under the write lock: so positions grow in commit
order. An event without a type is a place that must not be given again, since its journal was deleted.

`tasks.ready` says where a task stands, and each claim looks only at indexes of what it may take:

    0   nowhere, or in `tasks_due` until its time comes; running tasks, until their lease ends
    1   in `tasks_ready`, by rank within its lane
    2   in the line of the concurrency key `tasks.line`; see `places`
    3   as 1, and asked to end: it needs no place, and no open lane

`tasks.places` is 1 while the task has places that last until its end, and 2 while it has such that end with its claim.
"""

from __future__ import annotations

APPLICATION_ID = 0x4F505350  # "OPSP": tells our files from those of other programs
LAYOUT = 2

TASKS = """
    CREATE TABLE tasks (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
        version INTEGER NOT NULL, token INTEGER NOT NULL,
        wakes INTEGER NOT NULL, urgent_at INTEGER NOT NULL, wake_at INTEGER, cancel INTEGER NOT NULL,
        ready INTEGER NOT NULL, due INTEGER, rank INTEGER, head_start INTEGER NOT NULL, owner TEXT,
        line TEXT, places INTEGER NOT NULL, holds TEXT,
        queue TEXT NOT NULL, handler TEXT NOT NULL, agent TEXT, session TEXT, root TEXT NOT NULL, parent TEXT,
        priority INTEGER NOT NULL, strict INTEGER NOT NULL, deadline INTEGER,
        attempt INTEGER NOT NULL, deliveries INTEGER NOT NULL, timeout_s REAL, retry TEXT, retry_of TEXT,
        created INTEGER NOT NULL, updated INTEGER NOT NULL, ended INTEGER, large INTEGER NOT NULL,
        labels TEXT NOT NULL, error TEXT, input TEXT NOT NULL, result TEXT NOT NULL
    ) STRICT"""
TASK_INDEXES = (
    "CREATE INDEX tasks_ready ON tasks (queue, handler, rank) WHERE ready = 1",
    "CREATE INDEX tasks_ending ON tasks (queue, handler, rank) WHERE ready = 3",
    "CREATE INDEX tasks_due ON tasks (queue, handler, due) WHERE ready = 0 AND due IS NOT NULL",
    "CREATE INDEX tasks_line ON tasks (line, queue, handler, ready, rank) WHERE line IS NOT NULL",
    "CREATE INDEX tasks_places ON tasks (due) WHERE places = 2",
    "CREATE INDEX tasks_owner ON tasks (owner) WHERE owner IS NOT NULL",
    # Most tasks of an old store succeeded; whoever asks for those finds them by walking back from the newest.
    "CREATE INDEX tasks_state ON tasks (state) WHERE state <> 'succeeded'",
    "CREATE INDEX tasks_root ON tasks (root)",
    "CREATE INDEX tasks_parent ON tasks (parent) WHERE parent IS NOT NULL",
    "CREATE INDEX tasks_agent ON tasks (agent) WHERE agent IS NOT NULL",
    "CREATE INDEX tasks_session ON tasks (session) WHERE session IS NOT NULL",
    "CREATE INDEX tasks_retry_of ON tasks (retry_of) WHERE retry_of IS NOT NULL",
    "CREATE INDEX tasks_ended ON tasks (ended) WHERE ended IS NOT NULL",
)
#: Beside the tasks: their labels, the places they hold, how many places are held, lanes that are closed.
AROUND_TASKS = (
    """
    CREATE TABLE labels (
        name TEXT NOT NULL, value TEXT NOT NULL, task INTEGER NOT NULL, PRIMARY KEY (name, value, task)
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE places (
        task INTEGER NOT NULL, key TEXT NOT NULL, lasting INTEGER NOT NULL, PRIMARY KEY (task, key)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE keys (key TEXT PRIMARY KEY, held INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE closed (handler TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
)
EVENTS = (
    """
    CREATE TABLE events (
        position INTEGER PRIMARY KEY, task INTEGER NOT NULL, time INTEGER NOT NULL, type TEXT NOT NULL,
        level TEXT NOT NULL, error_type TEXT, agent TEXT, session TEXT, data TEXT NOT NULL
    ) STRICT""",
    # None by session: sessions are many, and a commit would write one page more for each event in it. A session's
    # events are found through its tasks, and those of no task by an index of their own.
    "CREATE INDEX events_task ON events (task)",
    "CREATE INDEX events_agent ON events (agent) WHERE agent IS NOT NULL",
    "CREATE INDEX events_session ON events (session) WHERE task = 0 AND session IS NOT NULL",
    "CREATE INDEX events_error ON events (error_type) WHERE error_type IS NOT NULL",
    "CREATE INDEX events_level ON events (level) WHERE level <> 'info'",
)
RECORDS = (
    """
    CREATE TABLE records (
        seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,
        created INTEGER NOT NULL, updated INTEGER NOT NULL, fields TEXT NOT NULL, data TEXT NOT NULL, UNIQUE (kind, id)
    ) STRICT""",
    "CREATE INDEX records_kind ON records (kind)",
    """
    CREATE TABLE fields (
        kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, record INTEGER NOT NULL,
        PRIMARY KEY (kind, name, value, record)
    ) STRICT, WITHOUT ROWID""",
)
#: Values by digest with the number of places that refer to them; rates; the highest time so far, if no event has it.
APART = (
    "CREATE TABLE payloads (digest TEXT PRIMARY KEY, refs INTEGER NOT NULL, data TEXT NOT NULL) STRICT",
    "CREATE TABLE rates (key TEXT PRIMARY KEY, full REAL NOT NULL) STRICT",
    "CREATE INDEX rates_full ON rates (full)",
    "CREATE TABLE clock (time INTEGER NOT NULL) STRICT",
    "INSERT INTO clock VALUES (0)",
)
#: Everything, in a new database.
WHOLE = (TASKS, *TASK_INDEXES, *AROUND_TASKS, *EVENTS, *RECORDS, *APART)
