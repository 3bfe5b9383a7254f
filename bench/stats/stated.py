"""What the paper states of its protocol, and where a study departs from it: at full scale too it then decides nothing.

Little is visible to us (arXiv 2604.27704, abstract and summary; `paper/ledger.csv` marks it `stated`): two networks,
supervised pre-training on ImageNet-1K for 300 epochs, the channels of each target, RGB pre-training as the baseline.
What the paper leaves open is no departure, whatever a study chooses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from bench.catalog.index import CATALOG
from bench.stats.verdicts import Claim
from bench.study.schema import Backbone, Study

PHOTOGRAPHS, EPOCHS = "imagenet1k", 300
NETWORKS = {
    "ConvNeXt-T": Backbone(family="convnext", depths=(3, 3, 9, 3), widths=(96, 192, 384, 768)),
    "Swin-T": Backbone(
        family="swin", depths=(2, 2, 6, 2), widths=(96, 192, 384, 768), heads=(3, 6, 12, 24), window=7
    ),
}
"""The paper's networks by their published numbers."""
OVER = {"best": "the best", "average": "the average"}
"""What a claim takes over the networks."""


@dataclass(frozen=True)
class Stated:
    """The paper's protocol, held against one study."""

    study: Study

    @cached_property
    def networks(self) -> dict[str, str]:
        """The paper's networks in the study: the study's name of each, by the paper's."""
        found = dict[str, str]()
        for words, network in NETWORKS.items():
            for name, backbone in self.study.backbones.items():
                keys = ("family", "depths", "widths", "heads", "window")
                if all(getattr(backbone, key) == getattr(network, key) for key in keys):
                    found.setdefault(words, name)
        return found

    def counts(self, claim: Claim, backbone: str) -> bool:
        """Say whether a backbone of the study enters a claim: the one it names, or one that the paper's number is over.

        A study that has none of the paper's networks shows what it has instead.
        """
        if claim.backbone not in OVER:
            return claim.backbone == backbone
        return backbone in self.networks.values() or not self.networks

    def departures(self, claim: Claim) -> list[str]:
        """Return in words what differs from what the paper states, as far as this claim rests on it."""
        return [*self._networks(claim), *self._photographs(), *self._target(claim), *self._arms(claim)]

    def _networks(self, claim: Claim) -> Iterator[str]:
        lacking = [words for words in NETWORKS if words not in self.networks]
        if claim.backbone in OVER and lacking:
            yield (
                f"the paper's number is {OVER[claim.backbone]} of {' and '.join(NETWORKS)}; this study has no "
                + (" and no ".join(lacking))
            )

    def _photographs(self) -> Iterator[str]:
        data = self.study.pretrain_data
        if data.source != PHOTOGRAPHS:
            yield f"pre-trained on {data.name}, the paper's networks on ImageNet-1K"
        elif data.holdout is not None:
            yield f"a share of {data.holdout:g} of ImageNet-1K's training photographs was held out of the pre-training"

    def _target(self, claim: Claim) -> Iterator[str]:
        target = self.study.datasets.get(claim.dataset)
        if target is None:
            return
        source = target.source or claim.dataset
        if source != claim.dataset:
            yield f"{claim.dataset} is {source} here, not the paper's data"
        elif set(target.channels) != set(channels := CATALOG[claim.dataset].default_channels):
            yield f"{claim.dataset} has the channels {', '.join(target.channels)}; the paper's {', '.join(channels)}"

    def _arms(self, claim: Claim) -> Iterator[str]:
        """Arms are named by the study, and a claim by what is pre-trained."""
        wanted = [(claim.arm, claim.arm)]
        if claim.baseline is not None:
            wanted.append((self.study.compare.primary, claim.baseline))
        for name, strategy in wanted:
            arm = self.study.arms.get(name)
            if arm is None:
                continue
            if arm.strategy != strategy:
                yield f"the arm {name} is pre-trained by {arm.strategy}, the paper's by {strategy}"
            epochs = {
                arm.epochs or recipe.epochs
                for backbone, recipe in self.study.pretrain.items()
                if self.counts(claim, backbone)
                and not (strategy == "rgb" and backbone in self.study.published)
            }
            if epochs - {EPOCHS}:
                found = " or ".join(map(str, sorted(epochs)))
                yield f"{name} is pre-trained for {found} epochs, the paper's networks for {EPOCHS}"
