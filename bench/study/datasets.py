"""The data of a study as frozen dataclasses: targets, classification data, the sizes of drawn archives."""

import re
from dataclasses import dataclass
from typing import Literal

from bench.study.checks import SLOT, below_root, distinct, hexadecimal, require, within


@dataclass(frozen=True, kw_only=True)
class Target:
    """One segmentation dataset of the study, with its protocol."""

    source: str | None = None
    """Catalogue entry, or `folder` for data of one's own; unset: the key itself."""
    path: str | None = None
    """folder: where the data are, below the data root."""
    sha256: str | None = None
    """folder: digest of its list of files; another folder is refused. Unset: any folder."""
    description: str | None = None
    """folder: the `dataset.yaml` with channels and classes, from the working folder; its content is in the digest."""
    channels: tuple[str, ...]
    """The network's input channels, in this order."""
    split: str = "official"
    """Named split protocol of the catalogue."""
    selection: Literal["official", "holdout"] = "official"
    """official: the whole training list, last weights; holdout: a part of its units validates."""
    holdout: float = 0.1
    """holdout: share of the training units that validate."""
    labels: str = "full"
    """Label variant for training (Potsdam: full or eroded)."""
    geometry: str = "whole"
    """Patch geometry of the catalogue, such as 512/512; whole: crops are cut from whole scenes."""
    rules: tuple[str, ...] = ()
    """Optional repair rules of the catalogue."""
    per_tile: tuple[str, ...] = ()
    """Channels standardised by each scene's own mean and std; the others by those of the training split."""

    def __post_init__(self) -> None:
        distinct("channels", self.channels)
        require(3 <= len(self.channels) <= 8, f"channels are 3 to 8, found {len(self.channels)}")
        _check_protocol(self)
        own = self.source == "folder"
        require((self.path is not None) == own, "path belongs to source: folder, and it needs one")
        below_root(self.path)
        require(self.sha256 is None or own, "sha256 belongs to source: folder")
        hexadecimal(self.sha256)
        require(
            (self.description is not None) == own, "description belongs to source: folder, and it needs one"
        )


def _check_protocol(target: Target) -> None:
    within(target, "(0, 1)", "holdout")
    plain = target.selection == "holdout" or target.holdout == 0.1
    require(plain, "holdout belongs to selection: holdout")
    distinct("rules", target.rules)
    distinct("per_tile", target.per_tile)
    strange = sorted(set(target.per_tile) - set(target.channels))
    require(not strange, f"per_tile names {strange}, which are not among channels {list(target.channels)}")


@dataclass(frozen=True, kw_only=True)
class PretrainData:
    """The classification dataset and the form in which it is stored."""

    source: str
    """`imagenet1k` (the archives as published) or `folders` ({train,val}/<synset>/ image folders)."""
    path: str | None = None
    """folders: where the data are, below the data root."""
    sha256: str | None = None
    """folders: digest of its list of files; another folder is refused. Unset: any folder."""
    form: Literal["encoded", "decoded"] = "encoded"
    """encoded: JPEG bytes in one packed file; decoded: uint8 arrays of `size` pixels a side."""
    size: int | None = None
    """decoded: side in pixels (short side resized, centre cut)."""
    holdout: float | None = None
    """Share of each class's training photographs that stand in the place of the validation photographs, which are then
    never opened: for choosing budgets. Unset: the published parts."""

    def __post_init__(self) -> None:
        known = self.source in ("imagenet1k", "folders")
        require(known, f"source is imagenet1k or folders, found {self.source!r}")
        own, decoded = self.source == "folders", self.form == "decoded"
        require((self.path is not None) == own, "path belongs to source: folders, and it needs one")
        require(self.sha256 is None or own, "sha256 belongs to source: folders")
        hexadecimal(self.sha256)
        below_root(self.path)
        slot = re.fullmatch(SLOT, self.name) is not None
        require(slot, f"path names a folder of results (letters, digits, /, - and _), found {self.path!r}")
        require((self.size is not None) == decoded, "size belongs to form: decoded, and it needs one")
        within(self, "(0, 1)", "holdout")

    @property
    def name(self) -> str:
        """The folder name of this dataset in results/<study>/data/."""
        return self.source if self.path is None else self.path.strip("/").replace("/", "-").lower()


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """Sizes of the drawn archives; nothing but `scale: miniature` studies has them."""

    seed: int
    train_images: int
    """ImageNet: training images a class."""
    val_images: int
    """ImageNet: validation images a class."""
    scenes: int
    """Targets: training scenes each; a third as many for each other split (at least two)."""
    side: int
    """Side of the classification images in pixels; scenes are a small multiple of it."""

    def __post_init__(self) -> None:
        within(self, "[1, inf)", "train_images", "val_images", "side")
        within(self, "[2, inf)", "scenes")
