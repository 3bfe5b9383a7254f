"""The jobs of a study as frozen dataclasses, and what an arm effectively asks for."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from bench.record import digest_of
from bench.study.arms import DRAWN, Arm, Normalise, Placed, Stem, Strategy
from bench.study.recipes import FinetuneRecipe, PretrainRecipe, Published
from bench.study.schema import Backbone


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every job has: its folder below the working directory, its spec, the digests it depends on."""

    stage: ClassVar[str]
    study: str
    scale: str
    folder: str
    spec: dict[str, Any]
    inputs: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """Cumulative digest: SHA-256 over spec and inputs."""
        return digest_of(self.spec, self.inputs)

    @property
    def record(self) -> str:
        """Path of the record, written last (training and evaluation)."""
        return f"{self.folder}/record.json"


@dataclass(frozen=True, kw_only=True)
class DataRun(Job):
    """Acquisition and preparation of one dataset; `digest` is that of the prepared data."""

    stage = "prepare"
    name: str
    source: str
    """Catalogue entry, `folder` (segmentation) or `folders` (classification)."""
    acquire_spec: dict[str, Any]

    @property
    def manifest(self) -> str:
        """Path of the manifest, written last."""
        return f"{self.folder}/manifest.json"

    @property
    def acquired(self) -> str:
        """Path of the acquisition's receipt, written last."""
        return f"{self.folder}/acquired.json"

    @cached_property
    def acquire_digest(self) -> str:
        return digest_of(self.acquire_spec, {})


@dataclass(frozen=True, kw_only=True)
class PretrainRun(Job):
    """One pre-training."""

    stage = "pretrain"
    backbone: str
    architecture: Backbone
    label: str
    """Folder name: strategy, settings that differ from the default, channels: csp-4ch."""
    strategy: Strategy
    fill: str
    scope: str
    probability: float
    order: Placed = "before-erasing"
    normalise: Normalise = "follow"
    published: Published | None = None
    """Weights that stand in for the training; then nothing is trained."""
    channels: int
    repetition: int
    root_seed: int
    recipe: PretrainRecipe
    data: str
    manifest: str

    @property
    def weights(self) -> str:
        return f"{self.folder}/weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class FinetuneRun(Job):
    """One fine-tuning; `names` are all arms that share it."""

    stage = "finetune"
    dataset: str
    backbone: str
    architecture: Backbone
    arm: str
    names: tuple[str, ...]
    strategy: Strategy
    stem: Stem | None
    """How three-channel weights are adapted; None where nothing is adapted."""
    channels: int
    repetition: int
    pretrain: PretrainRun | None
    root_seed: int
    recipe: FinetuneRecipe
    labels: str
    manifest: str

    @property
    def weights(self) -> str:
        return f"{self.folder}/weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class EvaluateRun(Job):
    """One evaluation: all cells of a dataset and backbone, or all classifiers of a backbone."""

    backbone: str
    dataset: str
    """A target, or `top1` for the pre-trained classifiers."""
    finetunings: tuple[FinetuneRun, ...] = ()
    pretrainings: tuple[PretrainRun, ...] = ()
    manifest: str
    stage = "evaluate"


def effective(arm: Arm, channels: int, *, erasing: bool = True, epochs: int | None = None) -> tuple[Arm, int]:
    """Return the pre-training that an arm really asks for, and its channels.

    `rgb` is always pre-trained on three channels. `duplicate` on three channels is `rgb`; a drawn strategy whose
    draws are never used is `duplicate`; where n is a multiple of three, nothing is left for the fill rule to
    choose; where the recipe erases nothing, the order has no effect; nor have an arm's own epochs that are the
    recipe's (`epochs`).
    """
    if arm.epochs == epochs:
        arm = replace(arm, epochs=None)
    if not erasing:
        arm = replace(arm, order="before-erasing")
    if arm.strategy == "csp" and channels % 3 == 0:
        arm = replace(arm, fill="cycle")
    if arm.strategy in DRAWN and arm.probability == 0 and arm.fill == "cycle":
        arm = replace(arm, strategy="duplicate", scope="image", probability=1.0, normalise="follow")
    if arm.strategy == "duplicate" and channels == 3:
        arm = replace(arm, strategy="rgb", order="before-erasing")
    return arm, 3 if arm.strategy == "rgb" else channels


def label_of(arm: Arm, channels: int) -> str:
    """Return the folder name of a pre-training: `csp-4ch`, `csp-random-batch-p0.5-after-erasing-e100-5ch`."""
    words: list[str] = [arm.strategy]
    if arm.fill != "cycle":
        words.append(arm.fill)
    if arm.scope != "image":
        words.append(arm.scope)
    if arm.probability != 1.0:
        short = f"{arm.probability:g}"  # six digits, where they say it all
        words.append(f"p{short if float(short) == arm.probability else repr(arm.probability)}")
    if arm.order != "before-erasing":
        words.append(arm.order)
    if arm.normalise != "follow":
        words.append(arm.normalise)
    if arm.epochs is not None:
        words.append(f"e{arm.epochs}")
    return "-".join([*words, f"{channels}ch"])
