"""The study as frozen dataclasses: every key a study file may hold, with its unit, and the checks on its value.

The classes carry no default for a choice of science that a study should state aloud; defaults are kept for
switches that are off. `None` means unset. Data and recipes have modules of their own beside this one.
"""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

from bench.study.arms import Arm
from bench.study.checks import distinct, require, within
from bench.study.datasets import Miniature, PretrainData, Target
from bench.study.disturbances import OF_CLASSIFIERS
from bench.study.grid import Axes, Grid, Levels, Pattern
from bench.study.recipes import Evaluation, FinetuneRecipe, PretrainRecipe, Published

Order = Literal["natural", "reversed", "random"]
RECIPE = "recipe"
"""Level of an axis (epochs) at which an arm leaves the setting to the recipe."""
SeedTest = Literal["paired-t", "signed-ranks"]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A timm ConvNeXt or Swin by its own numbers; `convnext_tiny` is depths 3-3-9-3, widths 96 to 768."""

    family: Literal["convnext", "swin"]
    depths: tuple[int, ...]
    """Blocks a stage, four stages."""
    widths: tuple[int, ...]
    """Channels a stage; for Swin each is twice the one before."""
    heads: tuple[int, ...] | None = None
    """Attention heads a stage (Swin)."""
    window: int | None = None
    """Attention window in tokens (Swin)."""
    layer_scale: float | None = None
    """Initial weight of each residual branch (ConvNeXt); unset: the paper's 1e-6."""

    def __post_init__(self) -> None:
        require(len(self.depths) == len(self.widths) == 4, "depths and widths need four stages each")
        within(self, "[1, inf)", "depths", "widths", "heads")
        if self.family == "convnext":
            require(self.heads is None and self.window is None, "heads and window belong to swin")
            return
        heads, widths = self.heads or (), self.widths
        require(len(heads) == 4, f"heads are four for swin, found {list(heads)}")
        require(self.window is not None and self.window > 1, "window is at least 2 tokens for swin")
        require(self.layer_scale is None, "layer_scale belongs to convnext")
        doubled = all(b == 2 * a for a, b in pairwise(widths))
        require(doubled, f"widths of swin double from stage to stage, found {list(widths)}")
        whole = all(width % head == 0 for width, head in zip(widths, heads, strict=True))
        require(whole, f"widths {list(widths)} are no multiples of heads {list(heads)}")


@dataclass(frozen=True, kw_only=True)
class Repetitions:
    """What is repeated. nested: `finetune` seeds on each of `pretrain` seeds; matched: pairs (k, k)."""

    design: Literal["nested", "matched"]
    pretrain: int
    finetune: int
    """nested: fine-tunings on each pre-training; matched: equal to `pretrain`."""

    def __post_init__(self) -> None:
        within(self, "[1, inf)", "pretrain", "finetune")
        if self.design == "matched":
            require(self.pretrain == self.finetune, "pretrain and finetune are equal when matched")

    @property
    def count(self) -> int:
        """Fine-tunings of one arm on one dataset and backbone."""
        return self.pretrain if self.design == "matched" else self.pretrain * self.finetune


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is compared, declared before the runs."""

    treatment: str
    """The arm under test."""
    primary: str
    """The baseline arm that decides the claim about the gain."""
    decisive: tuple[str, ...] = ()
    """Places, as dataset/backbone, whose contrast with `primary` is tested as primary; the same contrast elsewhere is a
    family of its own. Unset: all places."""
    level: float = 0.05
    margin: float
    """Equivalence margin for a reported value, as a fraction (0.005 is half a point)."""
    resamples: int = 10_000
    seed: int = 0
    tests: tuple[SeedTest, ...] = ()
    """Further tests over the paired seeds, beside the crossed t and the sign-flips; they decide nothing."""

    def __post_init__(self) -> None:
        distinct("tests", self.tests)
        distinct("decisive", self.decisive)
        within(self, "(0, 0.5)", "level")
        within(self, "(0, inf)", "margin")
        within(self, "[100, inf)", "resamples")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study file."""

    study: str
    """The study's name: its folder in results/."""
    title: str
    scale: Literal["full", "small", "miniature"]
    """Printed on every table, figure and report."""
    seed: int
    """Root of every seed of the study."""
    miniature: Miniature | None = None
    backbones: dict[str, Backbone]
    datasets: dict[str, Target]
    arms: dict[str, Arm]
    grid: Grid | None = None
    """Axes that are crossed into further arms; unset: the arms are those named."""
    crossed: tuple[str, ...] = ()
    """The arms that the grid makes and the file does not name."""
    repetitions: Repetitions
    pretrain_data: PretrainData
    pretrain: dict[str, PretrainRecipe]
    """Recipe by backbone, `common` laid under each."""
    published: dict[str, Published] = field(default_factory=dict)
    """Published weights in the place of a backbone's `rgb` pre-training."""
    finetune: dict[str, dict[str, FinetuneRecipe]]
    """Recipe by dataset and backbone: `common`, then `backbones`, then `datasets` laid over each other."""
    evaluate: dict[str, Evaluation]
    orders: tuple[Order, ...] = ("natural", "reversed")
    """Channel orders in which the pre-trained classifiers are read."""
    spectral: tuple[str, ...] = ()
    """Disturbances in which they are read too, each of one channel at a time: mean, gain:G, offset:D."""
    compare: Comparison
    pictures: Literal["published", "local"] = "published"
    """local: the data may not be passed on, so `bench publish` takes no figure that shows scenes and no prediction."""
    discussion: str | None = None
    """Text about the results that the report prints (`bench.report.discussion`); it changes none of them."""

    def __post_init__(self) -> None:
        require(self.study != "published", "study: the name 'published' is taken")
        for key in ("backbones", "datasets", "arms"):
            require(bool(getattr(self, key)), f"{key} holds nothing; a study needs one at least")
        distinct("orders", self.orders, least=1)
        distinct("spectral", self.spectral)
        for word in self.spectral:
            require(
                re.fullmatch(OF_CLASSIFIERS, word) is not None,
                f"spectral holds mean, gain:G or offset:D (channel orders stand in orders), found {word!r}",
            )
        drawn = self.scale == "miniature"
        require((self.miniature is not None) == drawn, "miniature and scale: miniature go together")
        for key in ("treatment", "primary"):
            arm = getattr(self.compare, key)
            require(arm in self.arms, f"compare.{key} {arm!r} is no arm; there are {list(self.arms)}")
        places = [f"{dataset}/{backbone}" for dataset in self.datasets for backbone in self.backbones]
        strange = [place for place in self.compare.decisive if place not in places]
        require(not strange, f"compare.decisive {strange[:1]} is no place of the study; there are {places}")
        differ = self.compare.treatment != self.compare.primary
        require(differ, "compare.treatment and compare.primary are the same arm")
        # Several pre-trainings of csp against one set of published weights would count that one as several.
        one = not self.published or self.repetitions.pretrain == 1
        require(one, "repetitions.pretrain is 1 where pretrain.published gives rgb one set of weights")
        # Published weights have ImageNet's 1,000 classes and its published mean and std.
        whole = not self.published or self.scale == "full"
        require(
            whole,
            f"pretrain.published needs scale: full, the data of those weights; found scale: {self.scale}",
        )
        sizes = [("miniature.side", self.miniature.side if self.miniature else None, 24)]
        # Both backbones reduce a picture 32 times.
        sizes += [("pretrain.data.size", self.pretrain_data.size, 32)]
        sizes += [
            (f"pretrain (common, backbones.{key}).crop", it.crop, 32) for key, it in self.pretrain.items()
        ]
        for key, side, least in sizes:
            require(side is None or side >= least, f"{key} is at least {least} pixels, found {side}")
        for key, recipe in self.pretrain.items():
            # Both stems cut a picture into patches of 4 x 4 pixels.
            require(
                recipe.crop % 4 == 0,
                f"pretrain (common, backbones.{key}).crop is a multiple of 4 pixels, found {recipe.crop}",
            )
        for name in self.datasets:
            require(name not in ("top1", self.pretrain_data.name), f"datasets: the name {name!r} is taken")
            require(name in self.evaluate, f"evaluate lacks {name!r}")
            self._check_selection(name)
        for name, own in self.arms.items():
            self._check_epochs(name, own)
        if self.grid is not None:
            self._check_grid(self.grid)

    @cached_property
    def factors(self) -> dict[str, Levels]:
        """The level of each axis of the grid for every arm that lies on it, by arm; the base is among them."""
        if self.grid is None:
            return {}
        name = self.grid.base or self.compare.treatment
        if name not in self.arms:
            return {}
        base = self.arms[name]
        found = self.grid.combinations(name, base)
        axes = dict.fromkeys(axis for levels in found.values() for axis in levels)
        unset = {axis: RECIPE if getattr(base, axis) is None else getattr(base, axis) for axis in axes}
        # No axis need have the base's own level.
        if found and name not in found:
            found = {name: {}} | found
        return {arm: unset | levels for arm, levels in found.items() if arm in self.arms}

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The arms that the file names, without those that only its grid makes."""
        return tuple(name for name in self.arms if name not in self._of_grid)

    @cached_property
    def _of_grid(self) -> frozenset[str]:
        """The grid's own arms, which run where its axes say and are not tested; those that are compared are not."""
        return frozenset(self.crossed) - {self.compare.treatment, self.compare.primary}

    @cached_property
    def places(self) -> frozenset[tuple[str, str]]:
        """The datasets and backbones on which something is run."""
        return frozenset(
            (dataset, backbone)
            for dataset in self.datasets
            for backbone in self.backbones
            if any(
                self.asks_for(dataset, backbone, arm, number)
                for arm in self.arms
                for number in range(self.repetitions.count)
            )
        )

    def named_at(self, dataset: str, backbone: str) -> list[str]:
        """Return the named arms that run on a dataset and backbone, in at least one repetition."""
        numbers = range(self.repetitions.count)
        return [
            arm
            for arm in self.named
            if any(self.asks_for(dataset, backbone, arm, number) for number in numbers)
        ]

    def asks_for(self, dataset: str, backbone: str, arm: str, repetition: int) -> bool:
        """Say whether the study has this cell: enough channels for the arm, and nothing of the grid against it."""
        if len(self.datasets[dataset].channels) < self.arms[arm].min_channels:
            return False
        if self.grid is None:
            return True
        own = arm in self._of_grid
        return self.grid.runs(own, dataset, backbone, repetition) and not self.grid.leaves_out(
            dataset, backbone, arm, self.arms[arm], repetition
        )

    def _check_epochs(self, name: str, arm: Arm) -> None:
        """The recipes can be as short as an arm wants its pre-training."""
        for backbone, recipe in self.pretrain.items():
            try:
                replace(recipe, epochs=arm.epochs or recipe.epochs)
            except ValueError as error:
                raise ValueError(
                    f"arms.{name}.epochs: {arm.epochs} with {backbone}: {error}; give published_epochs in the "
                    "recipe, so that the warm-up keeps its share"
                ) from None

    def _check_grid(self, grid: Grid) -> None:
        """The grid's names are names of the study."""
        base = grid.base or self.compare.treatment
        require(base in self.arms, f"grid.exclude leaves out the arm that is varied, {base}")
        count = self.repetitions.count
        named: list[tuple[str, Axes | Pattern]] = [("axes", grid.span)]
        for place, owner in [*named, *(("exclude", pattern) for pattern in grid.exclude)]:
            for key, known in (("dataset", self.datasets), ("backbone", self.backbones)):
                strange = [name for name in getattr(owner, key) if name not in known]
                require(
                    not strange, f"grid.{place}.{key}: no {strange[:1]} in the study; it has {list(known)}"
                )
        for pattern in grid.exclude:
            late = [number for number in pattern.repetition if not 0 <= number < count]
            require(not late, f"grid.exclude.repetition: {late[:1]}; repetitions are 0 to {count - 1}")
        seeds = grid.span.seeds
        require(
            seeds is None or seeds <= count, f"grid.axes.seeds: {seeds}; the study has {count} repetitions"
        )

    def _check_selection(self, name: str) -> None:
        """Weights are chosen on a validation part that is set aside or not at all; colours are distorted as stored."""
        own_scale = {"red", "green", "blue"} & set(self.datasets[name].per_tile)
        for backbone, recipe in self.finetune[name].items():
            require(
                not (own_scale and recipe.photometric),
                f"finetune ({name}, {backbone}): photometric distorts stored 8-bit colours, which per_tile "
                f"standardises ({', '.join(sorted(own_scale))}); leave one of the two out",
            )
            looks = recipe.select == "best-val" or recipe.validate_every > 0
            require(
                not looks or self.datasets[name].selection == "holdout",
                f"finetune ({name}, {backbone}): select: best-val and validate_every need datasets.{name}.selection: "
                "holdout, which sets a validation part aside; test data never select",
            )
