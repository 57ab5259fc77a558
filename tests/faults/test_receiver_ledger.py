# SPDX-License-Identifier: Apache-2.0
"""A bad byte in the receiver's ledger costs at most what it lies in, and no batch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from agent.model import Gap, GapKind
from agent.receiver.batch_receiver import BatchReceiver
from agent.receiver.ledger import LEDGER
from tests.unit.receiver.test_ledger import numbered, received, verdicts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_damaged_ledger_never_takes_an_unstored_batch_for_a_duplicate(tmp_path: Path) -> None:
    inbox = received(tmp_path)
    inbox._ledger.close()
    whole = (tmp_path / LEDGER).read_bytes()
    fresh = [numbered(number, stream=stream) for number in (20, 21, 300) for stream in ("a", "b", "c")]
    chance = random.Random(7)
    full = [at for at in range(len(whole)) if whole[at]]
    places = [*chance.sample(range(len(whole)), 20), *chance.sample(full, 40)]
    for place in places:
        (tmp_path / LEDGER).write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        again = BatchReceiver(tmp_path)

        assert set(verdicts(again, *fresh)) == {"batch"}, place
        known = [numbered(n, gaps=(Gap(GapKind.DROPPED, 1, 2, 3, detail="can0"),), stream="a") for n in range(10, 20)]
        assert set(verdicts(again, *known)) == {"duplicate"}, place

        again._ledger.close()
        for path in tmp_path.glob(f"{LEDGER}*"):
            path.unlink()
        for number in (20, 21, 300):
            for path in tmp_path.glob(f"car-1/*/{number:012d}*"):
                path.unlink()
