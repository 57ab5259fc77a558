# SPDX-License-Identifier: Apache-2.0
"""A payload that processes die of is set aside, and stops none of those behind it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.batch.codec import decode_batch
from agent.receiver import batch_receiver as module
from agent.receiver import decoded as decoded_module
from agent.receiver.batch_receiver import Arrival, BatchReceiver, Verdict
from agent.receiver.decoded import DecodedOutput
from tests.support.samples import START, batch, catalog, steer
from tests.unit.receiver.killing import KILLED, killed_at

if TYPE_CHECKING:
    from pathlib import Path

    from agent.batch.codec import Batch

DEADLY = batch(6, [steer(START, 6)])


def arriving() -> list[Arrival]:
    return [Arrival(batch(number, [steer(START, number)]), "car-1") for number in range(10)]


def die_of(payload: bytes, out: Path) -> None:
    """Receive in a process that ends when it reads this."""

    real = decode_batch

    def deadly(read: bytes) -> Batch:
        if read == payload:
            os._exit(KILLED)
        return real(read)

    child = os.fork()
    if not child:
        try:
            setattr(module, "decode_batch", deadly)  # noqa: B010 - imported there, and not for others
            BatchReceiver(out).accept_some(arriving())
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def test_what_two_processes_died_of_is_set_aside_whole_and_the_rest_stored(tmp_path: Path) -> None:
    die_of(DEADLY, tmp_path)
    die_of(DEADLY, tmp_path)

    verdicts = [each.verdict for each in BatchReceiver(tmp_path).accept_some(arriving())]

    assert verdicts == [Verdict.BATCH] * 6 + [Verdict.REJECTED] + [Verdict.BATCH] * 3
    assert (tmp_path / "rejected/000000.payload").read_bytes() == DEADLY
    assert [gap.first_sequence for gap in BatchReceiver(tmp_path).report()] == [6]


def test_what_one_process_died_of_is_tried_again(tmp_path: Path) -> None:
    die_of(DEADLY, tmp_path)

    assert {each.verdict for each in BatchReceiver(tmp_path).accept_some(arriving())} == {Verdict.BATCH}


@pytest.mark.parametrize("step", ["FileGroup.write", "BatchReceiver._store", "enter", "open_ledger"])
def test_a_process_that_is_killed_while_it_stores_blames_no_payload(step: str, tmp_path: Path) -> None:
    for _ in range(4):
        killed_at(module, step, lambda: BatchReceiver(tmp_path).accept_some(arriving()), done=False)

    assert {each.verdict for each in BatchReceiver(tmp_path).accept_some(arriving())} == {Verdict.BATCH}


def test_an_error_that_nobody_expected_counts_as_a_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "decode_batch", lambda payload: 1 // 0)
        for _ in range(2):
            receiver = BatchReceiver(tmp_path)
            with pytest.raises(ZeroDivisionError):
                receiver.accept(DEADLY)
            receiver.close()

    assert BatchReceiver(tmp_path).accept(DEADLY).verdict is Verdict.REJECTED


def test_a_batch_that_processes_died_of_while_they_decoded_it_is_left_undecoded(tmp_path: Path) -> None:
    def receive() -> None:
        receiver = BatchReceiver(tmp_path)
        output = DecodedOutput("jsonl", handling=receiver.handling)
        for payload in (catalog(), DEADLY):
            accepted = receiver.accept(payload, vehicle="car-1")
            if accepted.path is not None and accepted.batch is not None:
                output.add_batch(accepted.batch, accepted.path)

    for _ in range(2):
        killed_at(decoded_module, "decode_batch", receive, done=False)
    receive()

    assert len(list(tmp_path.rglob("*.batch.zst"))) == 1
    assert not list(tmp_path.rglob("*.jsonl"))
