"""One evaluation in several processes: each predicts every W-th scene, and what they counted is put in order.

No scene is repeated to make the shares equal. Counts are whole numbers of one scene each, so that the number of
processes cannot show in them; which scenes came is checked against the split.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from bench.errors import BenchError

Arrays = dict[str, NDArray[Any]]
SINGLE = "prediction/"
"""Begins the name of an array of one scene; all others have their scenes along the first axis."""


def shard(names: Sequence[str], rank: int, world: int) -> list[str]:
    """Return the scenes of one process: every `world`-th, so that large neighbours are spread."""
    return list(names[rank::world])


def agreed(flag: bool, world: int) -> bool:
    """Return the answer of the first process, in all of them."""
    if world == 1:
        return flag
    told = [flag]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def gathered(
    own: Sequence[str], found: Arrays, order: Sequence[str], disturbed: Sequence[str], rank: int, world: int
) -> Arrays:
    """Return in the first process what all have counted, scenes in `order`; in the others nothing.

    `own` are the scenes of this process, in the order of its arrays; arrays named `spectral/...` have the
    `disturbed` ones alone. Raises BenchError unless every scene came once.
    """
    parts: list[Any] = [(list(own), found)]
    if world > 1:
        received: list[Any] | None = [None] * world if rank == 0 else None
        dist.gather_object(parts[0], received, dst=0)
        if received is None:
            return {}
        parts = received
    return in_order(parts, order, disturbed)


def in_order(
    parts: Sequence[tuple[Sequence[str], Arrays]], order: Sequence[str], disturbed: Sequence[str]
) -> Arrays:
    """Put the counts of several processes, (scenes, arrays) each, into the order of the split."""
    came = sorted(name for names, _ in parts for name in names)
    if came != sorted(order):
        missing, twice = sorted({*order} - {*came}), sorted({name for name in came if came.count(name) > 1})
        raise BenchError(
            f"{len(parts)} processes counted {len(came)} scenes of a split of {len(order)}: "
            f"{_listed(missing)} missing, {_listed(twice)} counted twice, {_listed(sorted({*came} - {*order}))} "
            "foreign; a score over them would be of other data"
        )
    merged: Arrays = {}
    for key in dict.fromkeys(key for _, arrays in parts for key in arrays):
        if key.startswith(SINGLE):
            (merged[key],) = (arrays[key] for _, arrays in parts if key in arrays)
            continue
        wanted = disturbed if key.startswith("spectral/") else order
        rows = {
            name: row
            for names, arrays in parts
            if key in arrays
            for name, row in zip((n for n in names if n in wanted), arrays[key], strict=True)
        }
        merged[key] = np.stack([rows[name] for name in wanted])
    return merged


def _listed(names: Sequence[str]) -> str:
    return (
        ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
    )
