"""The guards of durability: the words in the source that keep each promise, what is left without them, and the fast
test that must notice.

`old` is exact and stands once in its file. Whoever rewrites such a line changes it here, too; a test of the house says
so at once.
"""

from __future__ import annotations

from dataclasses import dataclass

_STORE = "opspawn-core/tests/stores/test_guards.py::"
_OPS = "opspawn-core/tests/ops/"


@dataclass(frozen=True, slots=True)
class Guard:
    """A guard: `file` within the package, what stands there, what stands there without it, and who notices."""

    name: str
    file: str
    old: str
    new: str
    test: str


GUARDS: tuple[Guard, ...] = (
    # -- the store -----------------------------------------------------------------------------------------------------
    Guard(
        "the fence of an append",
        "stores/operations.py",
        "_APPEND_FENCED = _APPEND + \"token = ? AND state = 'running'\"",
        "_APPEND_FENCED = _APPEND + \"? IS NOT NULL AND state = 'running'\"",
        f"{_STORE}test_the_fence_of_an_append",
    ),
    Guard(
        "the fence of appends in a group",
        "stores/operations.py",
        "(token = column3 AND state = 'running'\"",
        "(state = 'running'\"",
        f"{_STORE}test_the_fence_of_an_append",
    ),
    Guard(
        "the fence of a put",
        "stores/tasks.py",
        "elif put.token != token or state is not TaskState.RUNNING:",
        "elif False:",
        f"{_STORE}test_the_fence_of_a_put",
    ),
    Guard(
        "the fence of an end in a group",
        "stores/groups.py",
        "f\"AND token = {_NEW['token']} AND state = 'running' \"",
        '""',
        f"{_STORE}test_the_fence_of_an_end_with_its_event",
    ),
    Guard(
        "the version of a task that ends in a group",
        "stores/groups.py",
        "AND version = {_NEW['version']} ",
        "",
        f"{_STORE}test_the_version_of_an_end_with_its_event",
    ),
    Guard(
        "the version of a task",
        "stores/tasks.py",
        "if version != put.expect:",
        "if False:",
        f"{_STORE}test_the_version_of_a_task",
    ),
    Guard(
        "the version of a record",
        "stores/records.py",
        "    if row is None:  # guard: nobody overwrites what they have not read\n",
        "    if row is None:\n"
        "        row = tx.execute('SELECT seq, fields FROM records WHERE kind = ? AND id = ?', (kind, id)).fetchone()\n"
        "    if row is None:\n",
        f"{_STORE}test_the_version_of_a_record",
    ),
    Guard(
        "the end of a task, for a put",
        "stores/tasks.py",
        '    if state.terminal:\n        raise Conflict(f"Task {id!r} has ended: it is {state}.")\n',
        "",
        f"{_STORE}test_the_end_of_a_task",
    ),
    Guard(
        "the end of a task, for an inbox event",
        "stores/operations.py",
        '_APPEND_INBOX = _APPEND + "ended IS NULL"',
        '_APPEND_INBOX = _APPEND + "1"',
        f"{_STORE}test_the_end_of_a_task",
    ),
    Guard(
        "the savepoint of a job in a group",
        "stores/writer.py",
        '            transaction.execute("ROLLBACK TO job")\n',
        "",
        f"{_STORE}test_the_savepoint_of_a_group",
    ),
    Guard(
        "the undoing of a group in which one is at fault",
        "stores/writer.py",
        "        self._roll_back()  # guard: where one is at fault nothing is left; `_run` will find out which\n"
        "        self._finish(transaction, committed=False)\n"
        "        return self._begin(), jobs\n",
        "        return transaction, jobs\n",
        f"{_STORE}test_the_undoing_of_a_group_in_which_one_is_at_fault",
    ),
    Guard(
        "the lease of a claim",
        "stores/claims.py",
        '"ready = 0, due = ?, wake_at = NULL, updated = ? "',
        '"ready = 1, due = ?, wake_at = NULL, updated = ? "',
        f"{_STORE}test_the_lease_of_a_claim",
    ),
    Guard(
        "the end of a lease",
        "stores/claims.py",
        "leased = tx.execute(_LEASE, (claim.worker, lease_end(tx, claim), tx.now,",
        "leased = tx.execute(_LEASE, (claim.worker, None, tx.now,",
        f"{_STORE}test_the_end_of_a_lease",
    ),
    Guard(
        "the lease of a task that is claimed as it is made",
        "stores/tasks.py",
        "(worker, 1, TaskState.RUNNING.value, 0, None, lease_end)",
        "(worker, 1, TaskState.RUNNING.value, 0, None, None)",
        "opspawn-core/tests/stores/test_sqlite_newborn.py::"
        "test_the_lease_of_a_newborn_task_is_fenced_kept_and_lost_like_any",
    ),
    Guard(
        "the turn of what waits before what begins",
        "stores/claims.py",
        "            if overdue or ready or ending:",
        "            if False:",
        "opspawn-core/tests/stores/test_sqlite_newborn.py::test_what_waits_is_claimed_before_what_begins",
    ),
    Guard(
        "the memory of a batch's id",
        "stores/answers.py",
        "if kept is not None:",
        "if kept is not None and sort == 'claim':",
        f"{_STORE}test_the_id_of_a_batch",
    ),
    Guard(
        "the memory of a claim's id",
        "stores/answers.py",
        "if kept is not None:",
        "if kept is not None and sort != 'claim':",
        f"{_STORE}test_the_id_of_a_claim",
    ),
    Guard(
        "the count of holds",
        "stores/places.py",
        "return row is None or row[0] < hold.limit",
        "return True",
        f"{_STORE}test_the_limit_of_a_key",
    ),
    Guard(
        "the places of a lease that ran out",
        "stores/places.py",
        "        leave(tx, seq, all=False)\n\n\ndef step_forward",
        "        pass\n\n\ndef step_forward",
        f"{_STORE}test_the_places_of_a_lease_that_ran_out",
    ),
    Guard(
        "a clock that never goes back",
        "stores/storetime.py",
        "self._ahead = max(self._ahead, self._highest - wall)",
        "self._highest = wall",
        "opspawn-core/tests/stores/test_sqlite_failures.py::test_a_clock_that_is_set_back_stops_nothing",
    ),
    Guard(
        "the time of appends in a group",
        "stores/operations.py",
        "SELECT seq, max(?, ({HIGHEST})), {{sort}}",
        "SELECT seq, ?, {{sort}}",
        "opspawn-core/tests/stores/test_sqlite_groups.py::"
        "test_no_append_is_older_than_what_another_process_wrote_meanwhile",
    ),
    Guard(
        "the lock between commits and checkpoints",
        "stores/checkpoints.py",
        "fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "opspawn-core/tests/stores/test_sqlite_checkpoints.py::"
        "test_no_checkpoint_is_made_while_another_process_commits",
    ),
    Guard(
        "the lock for room in the log",
        "stores/room.py",
        'connection.execute("BEGIN IMMEDIATE")',
        'connection.execute("BEGIN")',
        "opspawn-core/tests/stores/test_sqlite_room.py::test_no_room_is_made_while_somebody_else_writes",
    ),
    # -- tasks ---------------------------------------------------------------------------------------------------------
    Guard(
        "the recall of a recorded step",
        "ops/run/journal.py",
        "        if end is not None:\n            check_same(asked, end.name, end.digest)\n            return end\n"
        "        intent = ",
        "        intent = ",
        f"{_OPS}test_replay.py::test_a_recorded_step_is_never_repeated",
    ),
    Guard(
        "the digest of what was asked",
        "agentkit/recorded.py",
        "if asked.digest != digest:",
        "if False:",
        f"{_OPS}test_replay.py::test_a_changed_question_pauses_the_task_and_returns_nothing_wrong",
    ),
    Guard(
        "a new `once` effect waits for those in doubt",
        "ops/run/journal.py",
        "if self.unasked:  # guard",
        "if False:  # guard",
        f"{_OPS}test_renamed_effects.py::test_under_another_name_it_does_not_begin_again",
    ),
    Guard(
        "a run does not end over what is in doubt",
        "ops/run/life.py",
        "error = self.journal.unasked.first()",
        "error = None",
        f"{_OPS}test_renamed_effects.py::test_code_that_does_without_it_does_not_succeed_over_it",
    ),
    Guard(
        "the intent of a `once` effect",
        "agentkit/acting.py",
        "await log.begin(asked, _shown(arguments))",
        "pass",
        f"{_OPS}test_in_doubt.py::test_the_task_goes_in_doubt_and_tells_what_began",
    ),
    Guard(
        "the doubt about an intent",
        "ops/run/journal.py",
        "raise InDoubt(asked.key, asked.name, intent.arguments, kind=asked.kind)",
        "return None",
        f"{_OPS}test_in_doubt.py::test_the_task_goes_in_doubt_and_tells_what_began",
    ),
    Guard(
        "the idempotency key of a submit",
        "ops/engine/accepting.py",
        "await self._commit([mark, *operations], task.queue, task.id)",
        "await self._commit(operations, task.queue, task.id)",
        f"{_OPS}test_dead.py::test_one_key_makes_one_task_however_many_ask_at_once",
    ),
    Guard(
        "the refund of a graceful stop",
        "ops/run/life.py",
        "        return transitions.release(task)\n\n    async def _ended",
        "        return []\n\n    async def _ended",
        f"{_OPS}test_stopping.py::test_the_step_in_flight_ends_and_the_next_is_somebody_elses",
    ),
    Guard(
        "the self-fence of a heart",
        "ops/run/heart.py",
        "return self._clock.monotonic() - self._renewed > self._fence_s",
        "return False",
        f"{_OPS}test_leases.py::test_a_heart_that_was_not_renewed_in_time_lets_no_effect_begin",
    ),
    Guard(
        "the thread of a heart",
        "ops/run/heart.py",
        "            self._thread.start()\n",
        "            pass\n",
        f"{_OPS}test_leases.py::test_a_blocked_event_loop_does_not_cost_the_lease",
    ),
    Guard(
        "the word that a lease is lost",
        "ops/run/heart.py",
        "if lost := [lease for lease, status in zip(leases, statuses, strict=True) if not status.kept]:",
        "if lost := []:",
        f"{_OPS}test_leases.py::test_a_run_whose_lease_somebody_else_has_is_told_and_ends",
    ),
    Guard(
        "the bound of poison",
        "ops/run/poison.py",
        "return len(history.losses.lost) >= POISON_AT and",
        "return len(history.losses.lost) >= 1000 and",
        f"{_OPS}test_poison.py::test_a_task_that_killed_three_workers_without_progress_is_dead_after_a_try_alone",
    ),
    Guard(
        "the ids of children, which follow from their parent",
        "ops/run/offspring.py",
        "id = child_id(parent.task.id, key, parent.history.lives.get(key, 0))",
        "id = child_id(parent.task.id, f'{key} {id(one)}', parent.history.lives.get(key, 0))",
        f"{_OPS}test_fan_out.py::test_two_lives_of_a_parent_make_one_child",
    ),
    Guard(
        "a pause that is called off while it is written",
        "ops/run/life.py",
        "await undo_if_called_off(self._store, self.task.id, self._looked, self._clock)",
        "pass",
        f"{_OPS}test_pausing.py::test_a_pause_that_is_called_off_while_it_is_written_does_not_last",
    ),
    Guard(
        "a cancel passes closed lanes and full limits",
        "ops/transitions.py",
        'NewEvent("cancel.requested", level="warning")), Wake(task, urgent=True, cancel=True)]',
        'NewEvent("cancel.requested", level="warning")), Wake(task, urgent=True)]',
        f"{_OPS}test_cancel_reach.py::test_a_request_to_end_passes_the_lane_of_a_paused_agent_and_full_limits",
    ),
    Guard(
        "only who dies while its worker lives is poison",
        "ops/run/poison.py",
        "await asyncio.sleep(WHOLE_S)",
        "pass",
        f"{_OPS}test_poison.py::test_who_is_killed_together_with_its_worker_is_not_condemned_by_it",
    ),
    Guard(
        "the store's time for a paused deadline",
        "ops/overdue.py",
        "if task.deadline is not None and task.deadline <= now:",
        "if task.deadline is not None and task.deadline.timestamp() <= turn._clock.time():",
        f"{_OPS}test_deadlines.py::test_a_paused_tree_ends_at_its_deadline",
    ),
    Guard(
        "a repeated signal changes nothing",
        "ops/engine/signals.py",
        "operations.append(signal_mark(found, id))",
        "pass",
        f"{_OPS}test_signals.py::test_a_repeated_signal_changes_nothing",
    ),
    Guard(
        "a signal is taken once, in one life",
        "ops/run/inbox.py",
        "self._mail.take(signal.id)",
        "pass",
        f"{_OPS}test_signals.py::test_signals_that_came_before_count_and_are_taken_in_order_once",
    ),
    Guard(
        "a signal is taken once, over lives",
        "ops/run/history.py",
        'self.mail.take(data["signal"])',
        "pass",
        f"{_OPS}test_signals.py::test_a_taken_signal_is_not_taken_again_after_a_crash",
    ),
    Guard(
        "the first answer counts",
        "ops/engine/questions.py",
        "            _check_open(asked, self._clock.time())\n",
        "",
        f"{_OPS}test_questions.py::test_the_first_answer_counts_and_later_ones_are_refused_in_words",
    ),
    Guard(
        "a task that comes while its session ends",
        "ops/sessions/sessions.py",
        "if _ends(kept, said) and not kept.closing:",
        "if False:",
        "opspawn-core/tests/lifecycle/test_session_races.py::test_a_session_ends_or_takes_a_task_and_never_both",
    ),
    Guard(
        "an answer or an expiry, not both",
        "ops/question_records.py",
        "return Put(to_record(replace(asked, **changes)), expect=asked.version)",
        "return Put(to_record(replace(asked, id='q-' + derived_id(asked.id, repr(changes)), **changes)), expect=0)",
        f"{_OPS}test_questions.py::test_an_answer_that_comes_with_the_expiry_is_not_lost",
    ),
    Guard(
        "a question is put once",
        "ops/run/inbox.py",
        "        posed = self._mail.questions.get(asked.key)\n        if posed is None:",
        "        posed = None\n        if posed is None:",
        f"{_OPS}test_questions.py::test_a_question_is_asked_once_over_crashes",
    ),
    Guard(
        "news that came while a run is being parked",
        "stores/tasks.py",
        "if urgent_at > put.wakes_seen or (wake_at is not None and wakes >= wake_at):",
        "if False:",
        f"{_OPS}test_children.py::test_a_child_that_ends_while_its_parent_is_being_parked_is_not_slept_over",
    ),
    Guard(
        "a cancelled parent ends after its children",
        "ops/run/life.py",
        "        if self.journal.history.cancel_requested:\n            return await self._unwind()\n        left = ",
        "        if self.journal.history.cancel_requested:\n            return transitions.cancelled(self.task)\n"
        "        left = ",
        f"{_OPS}test_children.py::test_cancel_unwinds_children_first",
    ),
    # -- budgets -------------------------------------------------------------------------------------------------------
    Guard(
        "a model call is reserved before it begins",
        "agentkit/spending.py",
        """await self._spender.log.note(NewEvent("usage.reserved", data, level="debug"))""",
        "pass",
        f"{_OPS}test_budgets.py::test_a_call_that_was_cut_off_is_charged_as_reserved_and_marked",
    ),
    Guard(
        "a call that was cut off is charged",
        "ops/run/journal.py",
        "        if lost := cut_off(self.ledger, self.line):\n",
        "        if lost := []:\n",
        f"{_OPS}test_budgets.py::test_a_call_that_was_cut_off_is_charged_as_reserved_and_marked",
    ),
    Guard(
        "what was used survives the worker",
        "ops/run/history.py",
        "            if event.type in READ:\n",
        "            if False:\n",
        f"{_OPS}test_budgets.py::test_spending_survives_the_worker",
    ),
    Guard(
        "a refusal of the budget is recorded",
        "agentkit/acting.py",
        "            await self._log.failed(asked, error_to_json(error), 0.0)\n        error.key",
        "            pass\n        error.key",
        f"{_OPS}test_budgets.py::test_a_refusal_is_recorded_and_met_again_by_a_replay_that_could_afford_it",
    ),
    Guard(
        "a child brings back what it did not use",
        "ops/run/journal.py",
        'more: dict[str, Any] = {} if self.budget is None else {"spent": self.ledger.total.to_json()}',
        "more: dict[str, Any] = {}",
        f"{_OPS}test_budgets.py::test_a_parent_lends_and_gets_the_rest_back",
    ),
    Guard(
        "what children used is counted in the usage of those who asked",
        "ops/run/history.py",
        'self.within += usage_from_json(data.get("usage") or {})',
        "pass",
        "opspawn-core/tests/test_usage_of_children.py::test_killed_anywhere_nothing_is_counted_twice",
    ),
    Guard(
        "a child has no more than it was lent",
        "ops/run/offspring.py",
        "plan = replace(plan, budget=options.budget.to_json())",
        "pass",
        f"{_OPS}test_budgets.py::test_a_parent_lends_and_gets_the_rest_back",
    ),
    Guard(
        "a tree of tasks has a depth",
        "ops/run/offspring.py",
        "        if self._depth >= MAX_TASK_DEPTH:",
        "        if self._depth >= 40 + MAX_TASK_DEPTH:",
        f"{_OPS}test_budgets.py::test_what_spawns_itself_without_end_stops_at_a_depth",
    ),
    Guard(
        "what a guardrail held back stays back",
        "ops/sessions/conversations.py",
        '            if (instead := held.get(data["key"])) is not None:',
        "            if (instead := None) is not None:",
        "opspawn-core/tests/policy/test_guardrails.py::test_the_next_run_of_a_session_sees_what_was_let_pass",
    ),
    Guard(
        "a guardrail that fails holds back",
        "agentkit/guardrails.py",
        '        return Verdict("deny", f"The guardrail {one.name!r} failed, which holds it back: {named(error)}")',
        "        return None",
        "opspawn-core/tests/policy/test_guardrails.py::test_a_guardrail_that_fails_holds_back_and_is_named",
    ),
    Guard(
        "the task of a schedule and its next time are one commit",
        "host.py",
        "[*opens(task), *along, *also(task)]",
        "[*opens(task), *along]",
        "opspawn-core/tests/schedules/test_firing.py::test_two_that_see_the_same_time_due_submit_one_task",
    ),
    Guard(
        "a time of a schedule that is there twice comes once",
        "ops/schedules/times.py",
        "if (found := local.astimezone(UTC)) > moment:",
        "if found := local.astimezone(UTC):",
        "opspawn-core/tests/schedules/test_times.py::test_a_time_that_is_there_twice_comes_once",
    ),
    Guard(
        "a worker gives back what it lacks a part of",
        "catalog.py",
        "        self._refuse_lacking(workflow)",
        "        pass",
        "opspawn-core/tests/test_lacking.py::test_a_workflow_waits_for_a_worker_that_has_its_tools",
    ),
)
