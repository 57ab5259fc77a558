# SPDX-License-Identifier: Apache-2.0
"""Multiplexed frames, and plain ones with the same signals: what the multiplexing alone costs.

The plain twin of some frames has the same values and signals, but an id and a message of its own for each set of
signals that a frame carries. Limit: `SETS_MAX` sets, as there are ids of eleven bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import MessageDefinition, split_group_key

if TYPE_CHECKING:
    from agent.model import FrameBlock

SETS_MAX = 2_048


def multiplexed_only(frames: FrameBlock, plan: Plan) -> FrameBlock:
    """The frames of messages with multiplexors that a DBC file names as they are."""
    found = {at for at, message in plan.plain.items() if any(each.multiplexor for each in plan.signals(message))}
    ids = zip(frames.bus.tolist(), frames.can_id.tolist(), strict=True)
    return frames.chosen(np.fromiter((at in found for at in ids), np.bool_, len(frames)))


def plain_twin(frames: FrameBlock, plan: Plan) -> tuple[FrameBlock, Plan] | None:
    """The same frames with an id and a plain message for each set of signals; None where there are too many.

    Each frame has to be of an id that the plan knows.
    """
    block = Decoder(plan).decode(frames).signals
    can_id, ids = np.zeros(len(frames), np.uint32), dict[tuple[int, int], int]()
    definitions = []
    for group, key in enumerate(block.group_key.tolist()):
        message, bus, word = split_group_key(key)
        rows = np.flatnonzero((frames.bus == bus) & (frames.can_id == word))
        shapes = block.shape[block.row_start[group] : block.row_start[group + 1]]
        for shape in np.unique(shapes).tolist():
            number = ids[group, shape] = len(ids)
            signals = tuple(
                replace(
                    plan.signals(message)[index], name=f"S{n}", multiplexor=False, selected_by=None, selected_when=()
                )
                for n, index in enumerate(block.shapes[shape])
            )
            definitions.append(MessageDefinition("twin", number, f"M{number}", plan.length(message), signals))
            can_id[rows[shapes == shape]] = number
    if len(ids) > SETS_MAX:
        return None
    return replace(frames, can_id=can_id, bus=np.zeros_like(frames.bus)), Plan(("twin",), definitions)
