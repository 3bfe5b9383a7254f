"""How well classifiers name the validation images, counted by several processes as one would count."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.data.store import ClassificationStore
from bench.evaluate.top1 import hits
from bench.study.jobs import PretrainRun
from bench.train.distributed import Ranks


def validate(
    models: Sequence[nn.Module],
    orders: Sequence[str],
    store: ClassificationStore,
    run: PretrainRun,
    ranks: Ranks,
    device: torch.device,
    workers: int,
) -> dict[str, NDArray[np.bool_]]:
    """Return `hits` of the models over the whole validation split, each process having read its shard."""
    found = hits(
        [(model, run.channels) for model in models],
        orders,
        store,
        crop=run.recipe.crop,
        ratio=run.recipe.eval_ratio,
        resize=run.recipe.resize,
        seed=run.root_seed,
        device=device,
        workers=workers,
        rank=ranks.rank,
        world=ranks.world,
    )
    # Shards do not overlap, so the sum is each image's own answer.
    return {name: ranks.sum(torch.from_numpy(flags).byte()).bool().numpy() for name, flags in found.items()}
