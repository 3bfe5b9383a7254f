"""How well classifiers name the validation images, counted by several processes as one would count."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.data.store import ClassificationStore
from bench.evaluate.top1 import Reader, hits
from bench.strategies import natural_order, statistics, strategy_order
from bench.study.jobs import PretrainRun
from bench.train.distributed import Ranks


def natural_statistics(run: PretrainRun, store: ClassificationStore) -> dict[str, list[float]]:
    """Return `mean` and `std`, [n] each in stored units, that normalise the natural order for this run's network."""
    plan = strategy_order(run.strategy, natural_order(run.channels))[None]
    of_mean, of_std = (torch.tensor(values, dtype=torch.float64) for values in (store.mean, store.std))
    mean, std = statistics(plan, of_mean, of_std, run.normalise)
    return {"mean": mean[0].tolist(), "std": std[0].tolist()}


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
        [Reader(model, run.channels, run.strategy, run.normalise) for model in models],
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
