"""How many scenes a miniature split has, what each must show, and the generator of each picture."""

import numpy as np

from bench.data.miniature.scenes import Kind
from bench.seeds import seed_for
from bench.study.datasets import Miniature


def other_scenes(sizes: Miniature) -> int:
    """Return the number of scenes in every split but the training one: a third as many, at least two."""
    return max(2, sizes.scenes // 3)


def dealt(kinds: tuple[Kind, ...], index: int, count: int) -> list[Kind]:
    """Return the kinds that scene `index` of `count` must show, dealt in turn, so that a split shows them all."""
    large = [place for place in range(count) if place % 6 != 5]
    if index not in large:
        return []
    return [kind for place, kind in enumerate(kinds) if place % len(large) == large.index(index) % len(kinds)]


def generator_for(sizes: Miniature, *names: str | int) -> np.random.Generator:
    """Return the generator of one picture, keyed by what it is: one more scene moves no other."""
    return np.random.default_rng(seed_for("miniature", sizes.seed, *names))
