"""A person's words: `retry` and `cancel` of cases, `take` of paths, left in the state file."""

from __future__ import annotations

from collections.abc import Callable

from vpe_watcher.adapters.store.values import Word
from vpe_watcher.core.machine import TABLE, Decision, Patience, decide, retry_label
from vpe_watcher.core.model import Case, Label, Move, Outcome, State
from vpe_watcher.flow.breakers import Log
from vpe_watcher.flow.claim import moves_to_claim
from vpe_watcher.flow.duplicates import may_send_what_others_sent
from vpe_watcher.flow.ports import Ports
from vpe_watcher.flow.schedule import Schedule
from vpe_watcher.flow.verdicts import CANCELLED


class Words:
    """Acts on what people said. `cancelling` holds the cases whose running step is to stop."""

    def __init__(
        self,
        ports: Ports,
        schedule: Schedule,
        *,
        cancelling: set[str],
        on_take: Callable[[str], None],
        log: Log,
    ) -> None:
        self._ports = ports
        self._schedule = schedule
        self._cancelling = cancelling
        self._on_take = on_take
        self._log = log

    def use(self, ports: Ports) -> None:
        """Act in another world from now on."""
        self._ports = ports

    def obey(self) -> bool:
        """Do what was said and strike it out; false while a running step is in the way of one."""
        words = self._ports.store.words()
        done = [self._obey_one(word) for word in words]
        if words:
            self._schedule.refresh()
        return all(done)

    def _obey_one(self, word: Word) -> bool:
        if word.word == "take":
            self._on_take(word.subject)
        else:
            case = self._ports.store.load(word.subject)
            why_not = self._why_not(case, word)
            if case is not None and not why_not and not self._apply(case, word):
                return False
            self._cancelling.discard(word.subject)
            if why_not:
                self._ports.store.refuse_word(word, why_not)
                self._log("word.refused", word=word.word, case_id=word.subject, reason=why_not)
                return True
        self._ports.store.forget_word(word.word_id)
        self._log(
            "word.done", word=word.word, case_id=None if word.word == "take" else word.subject
        )
        return True

    def _why_not(self, case: Case | None, word: Word) -> str:
        """Say why a word means nothing any more: much may have happened since; "" if it does."""
        if case is None:
            return "the case is not known any more"
        label = _label_of(case, word)
        if _waits_for_answer(case, label):
            return ""
        if label is None or label not in TABLE.get((case.state, case.paid), {}):
            return f"the case is {case.state} now"
        if label is Label.RETRY_NEW_JOB and not word.may_cost:
            return "it needs a new job, which may cost again, and that was not agreed to"
        if case.recipe not in self._ports.rules.recipes:
            return "its recipe is not configured any more"
        if label is not Label.CANCEL and self._is_pruned(case):
            return "its input was removed by [retention]"
        return ""

    def _apply(self, case: Case, word: Word) -> bool:
        """Move the case as the table says; false while a running step is in the way."""
        label = _label_of(case, word)
        if label is None:
            return True
        if _waits_for_answer(case, label):
            self._cancelling.add(case.case_id)  # the answer decides what can be cancelled
            return False
        if self._schedule.is_in_hand(case.case_id):
            if label is Label.CANCEL:
                self._cancelling.add(case.case_id)
            return False
        problem = CANCELLED if label is Label.CANCEL else None
        decision = self._decided(case, Outcome(label, problem))
        if label is Label.RETRY_STEP and may_send_what_others_sent(case, self._ports):
            return self._send_on(case, decision)
        moves = () if label is Label.CANCEL else self._moves(case)
        return self._ports.store.apply_word(case.case_id, decision, moves=moves)

    def _send_on(self, case: Case, decision: Decision) -> bool:
        """Let a poisoned case go on where it stood, or compare it again: time has passed since."""
        store, again = self._ports.store, self._decided(case, Outcome(Label.RETRY_UNPAID))
        return store.apply_word(case.case_id, decision, if_first=True) or store.apply_word(
            case.case_id, again
        )

    def _is_pruned(self, case: Case) -> bool:
        is_in_place = self._ports.places.is_in_place(case.recipe)
        return not is_in_place and self._ports.store.pruned(case.case_id) is not None

    def _moves(self, case: Case) -> tuple[Move, ...]:
        return () if case.state is State.HELD else moves_to_claim(case, self._ports)

    @staticmethod
    def _decided(case: Case, outcome: Outcome) -> Decision:
        return decide(case, outcome, Patience(), chance=lambda: 0.0)


def _label_of(case: Case, word: Word) -> Label | None:
    return Label.CANCEL if word.word == "cancel" else retry_label(case)


def _waits_for_answer(case: Case, label: Label | None) -> bool:
    """Tell whether a submit that starts the Engine at once may be under way."""
    return label is Label.CANCEL and case.state is State.SUBMITTING and case.paid
