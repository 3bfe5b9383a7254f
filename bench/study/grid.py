"""A grid of arms: axes whose levels are crossed, less what is excluded, with what is included besides.

One arm of the study, the base, is varied. A combination is named by the levels in which it differs from the base
(`csp-batch-p50`), so that a new axis or level gives new arms and leaves the names, folders and results of the others.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any

from bench.study.arms import Arm, Fill, Normalise, Placed, Scope, Stem, Strategy
from bench.study.checks import distinct, require, within

SETTINGS = ("strategy", "stem", "fill", "scope", "probability", "order", "normalise", "epochs")
"""Settings of an arm that can be an axis, in the order of the words in a combination's name."""
Levels = dict[str, Any]
"""Setting -> level of one combination."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The levels of each axis. Settings of an arm are crossed; the rest says where the grid's own arms run."""

    strategy: tuple[Strategy, ...] = ()
    stem: tuple[Stem, ...] = ()
    fill: tuple[Fill, ...] = ()
    scope: tuple[Scope, ...] = ()
    probability: tuple[float, ...] = ()
    order: tuple[Placed, ...] = ()
    normalise: tuple[Normalise, ...] = ()
    epochs: tuple[int, ...] = ()
    """Epochs of the pre-training."""
    channels: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Parts of a target's channels, by target and name: `mfnet: {rgb: [red, green, blue]}` adds mfnet-rgb."""
    backbone: tuple[str, ...] = ()
    """Backbones on which the grid's own arms run; unset: all."""
    dataset: tuple[str, ...] = ()
    """Targets on which the grid's own arms run; unset: all."""
    seeds: int | None = None
    """The grid's own arms run the first so many repetitions; unset: all."""

    def __post_init__(self) -> None:
        for key in (*SETTINGS, "backbone", "dataset"):
            distinct(key, tuple(map(str, getattr(self, key))))
        within(self, "[1, inf)", "seeds", "epochs")

    @property
    def crossed(self) -> dict[str, tuple[Any, ...]]:
        """The settings of arms that are axes, with their levels."""
        return {key: getattr(self, key) for key in SETTINGS if getattr(self, key)}


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One combination beside the product; what it leaves unset is the base's."""

    strategy: Strategy | None = None
    stem: Stem | None = None
    fill: Fill | None = None
    scope: Scope | None = None
    probability: float | None = None
    order: Placed | None = None
    normalise: Normalise | None = None
    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Cells that are left out: those that agree with every key, in one of its values."""

    dataset: tuple[str, ...] = ()
    backbone: tuple[str, ...] = ()
    arm: tuple[str, ...] = ()
    repetition: tuple[int, ...] = ()
    """Numbers of fine-tunings, from 0."""
    strategy: tuple[Strategy, ...] = ()
    stem: tuple[Stem, ...] = ()
    fill: tuple[Fill, ...] = ()
    scope: tuple[Scope, ...] = ()
    probability: tuple[float, ...] = ()
    order: tuple[Placed, ...] = ()
    normalise: tuple[Normalise, ...] = ()
    epochs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.asked), "exclude: an empty pattern would leave everything out; name a key")

    @property
    def asked(self) -> dict[str, tuple[Any, ...]]:
        """The keys that say something."""
        return {item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name)}

    def of_arm(self, name: str, arm: Arm) -> bool:
        """Say whether an arm agrees with what the pattern says of arms."""
        held = {"arm": name} | {key: getattr(arm, key) for key in SETTINGS}
        return all(held[key] in values for key, values in self.asked.items() if key in held)

    @property
    def whole_arms(self) -> bool:
        """Whether it speaks of arms alone, and so leaves them out everywhere."""
        return not (self.dataset or self.backbone or self.repetition)

    def within(self, datasets: Collection[str], backbones: Collection[str]) -> "Pattern | None":
        """Return the pattern without the names of others; None where it speaks of nothing that is left."""
        kept = {
            key: tuple(name for name in getattr(self, key) if name in known)
            for key, known in (("dataset", datasets), ("backbone", backbones))
        }
        gone = any(getattr(self, key) and not names for key, names in kept.items())
        return None if gone else replace(self, dataset=kept["dataset"], backbone=kept["backbone"])


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Axes that are crossed, and what is included besides or left out."""

    base: str | None = None
    """The arm that is varied; unset: the treatment."""
    axes: Axes | None = None
    include: tuple[Combination, ...] = ()
    """Combinations beside the product."""
    exclude: tuple[Pattern, ...] = ()
    """Cells that are left out, named arms among them."""

    @property
    def span(self) -> Axes:
        """The axes; none where the grid only leaves out."""
        return self.axes or Axes()

    def combinations(self, name: str, base: Arm) -> dict[str, Levels]:
        """Return every combination by its name with its level of each axis, the base's own among them.

        Raises ValueError where two come to the same name.
        """
        axes = self.span.crossed
        asked = [dict(zip(axes, levels, strict=True)) for levels in product(*axes.values())] if axes else []
        for extra in self.include:
            own = {key: getattr(extra, key) for key in SETTINGS if getattr(extra, key) is not None}
            asked.append({key: getattr(base, key) for key in axes} | own)
        found: dict[str, Levels] = {}
        for levels in asked:
            words = combination_name(name, base, levels)
            require(words not in found, f"grid: the combination {words} stands there twice; keep one")
            found[words] = levels
        return found

    def arms(self, name: str, arms: Mapping[str, Arm]) -> dict[str, Arm]:
        """Return `arms` (those of the file) and the grid's own behind them, less what is left out everywhere.

        Raises ValueError for a combination that no arm can have, one whose name stands among `arms`, and a pattern
        that agrees with nothing.
        """
        base, found = arms[name], dict(arms)
        dropped = [pattern for pattern in self.exclude if pattern.whole_arms]
        for words, levels in self.combinations(name, base).items():
            if words == name:
                continue
            try:
                arm = replace(base, **levels)
            except ValueError as error:
                # What no arm can have may still be left out by name or level.
                held = {"arm": words} | {key: getattr(base, key) for key in SETTINGS} | levels
                if any(
                    all(held[key] in values for key, values in pattern.asked.items()) for pattern in dropped
                ):
                    continue
                said = ", ".join(f"{key} {level}" for key, level in levels.items())
                raise ValueError(f"grid: {said}: {error}; leave it out with exclude") from None
            same = words not in arms or arms[words] == arm
            require(
                same,
                f"grid: {words} stands among arms too, as another; rename it there, or drop the level here",
            )
            found[words] = arm
        for pattern in self.exclude:
            self._check(pattern, found, name, base)
        return {
            words: arm
            for words, arm in found.items()
            if not any(pattern.of_arm(words, arm) for pattern in dropped)
        }

    def _check(self, pattern: Pattern, arms: Mapping[str, Arm], name: str, base: Arm) -> None:
        agrees = any(pattern.of_arm(words, arm) for words, arm in arms.items())
        if not agrees and pattern.whole_arms:  # it may have left out combinations that no arm can have
            agrees = any(
                all(
                    ({"arm": words} | {key: getattr(base, key) for key in SETTINGS} | levels)[key] in values
                    for key, values in pattern.asked.items()
                )
                for words, levels in self.combinations(name, base).items()
            )
        said = {key: list(values) for key, values in pattern.asked.items()}
        require(agrees, f"grid: exclude {said} agrees with no arm; correct or remove it")

    def runs(self, own: bool, dataset: str, backbone: str, repetition: int) -> bool:
        """Say whether a cell lies where the grid's `own` arms run; those of the file run everywhere."""
        axes = self.span
        here = (not axes.dataset or dataset in axes.dataset) and (
            not axes.backbone or backbone in axes.backbone
        )
        return not own or (here and (axes.seeds is None or repetition < axes.seeds))

    def leaves_out(self, dataset: str, backbone: str, name: str, arm: Arm, repetition: int) -> bool:
        """Say whether a pattern leaves this cell out."""
        return any(
            (not pattern.dataset or dataset in pattern.dataset)
            and (not pattern.backbone or backbone in pattern.backbone)
            and (not pattern.repetition or repetition in pattern.repetition)
            and pattern.of_arm(name, arm)
            for pattern in self.exclude
        )


def combination_name(base_name: str, base: Arm, levels: Levels) -> str:
    """Return a combination's name: the base's (another strategy's own), then the levels that differ from the base.

    `csp` with scope batch and probability 0.5 is `csp-batch-p50`; with strategy rgb and stem zero, `rgb-zero`.
    """
    strategy = levels.get("strategy", base.strategy)
    words = [base_name if strategy == base.strategy else strategy]
    for key in SETTINGS[1:]:
        if key in levels and levels[key] != getattr(base, key):
            words.append(_word(key, levels[key]))
    return "-".join(words)


def _word(key: str, level: Any) -> str:
    """Return the word of a level in a name of lower-case letters, digits, - and _."""
    match key:
        case "probability":
            return f"p{100 * level:.10g}".replace(".", "_")
        case "epochs":
            return f"e{level}"
        case "fill":
            return f"fill-{level}"
    return str(level)


def neighbours(combinations: Mapping[str, Levels]) -> Iterator[tuple[str, str, str]]:
    """Yield (axis, one, other) for each two combinations that differ in this axis alone.

    Linear in the number of combinations and levels: those that agree in all other axes stand together.
    """
    axes = list(dict.fromkeys(key for levels in combinations.values() for key in levels))
    for axis in axes:
        alike: dict[tuple[Any, ...], list[str]] = {}
        for name, levels in combinations.items():
            if axis in levels:
                rest = tuple((key, levels.get(key)) for key in axes if key != axis)
                alike.setdefault(rest, []).append(name)
        for names in alike.values():
            yield from ((axis, one, other) for i, one in enumerate(names) for other in names[i + 1 :])


def derived_targets(axes: Mapping[str, Any], study: dict[str, Any]) -> dict[str, Any]:
    """Return the study's mapping with a target for each part of channels that `axes` (as in the file) names.

    The part inherits the whole target's settings, in data, recipe and evaluation. Raises ValueError for a target that
    there is not, or a name that is taken.
    """
    parts = axes.get("channels") or {}
    require(isinstance(parts, Mapping), f"grid.axes.channels: expected a mapping of targets, found {parts!r}")
    datasets, evaluate = dict(study["datasets"]), dict(study["evaluate"])
    finetune = dict(study["finetune"] or {})
    of_dataset = dict(finetune.get("datasets") or {})
    for whole, named in parts.items():
        require(whole in datasets, f"grid.axes.channels: no target {whole!r}; there are {list(datasets)}")
        require(isinstance(named, Mapping), f"grid.axes.channels.{whole}: expected names with channels")
        for name, channels in named.items():
            target = f"{whole}-{name}"
            require(
                target not in datasets, f"grid.axes.channels.{whole}: the target {target} is there already"
            )
            require(isinstance(datasets[whole], Mapping), f"datasets.{whole}: expected a mapping of keys")
            own = dict(datasets[whole])
            own.setdefault("source", whole)
            datasets[target] = own | {"channels": channels}
            if whole in evaluate:
                evaluate[target] = evaluate[whole]
            if whole in of_dataset:
                of_dataset[target] = of_dataset[whole]
    if of_dataset:
        finetune["datasets"] = of_dataset
    return study | {"datasets": datasets, "evaluate": evaluate, "finetune": finetune}
