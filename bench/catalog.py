"""The datasets as data: channels, classes, archives, splits and known defects, one entry each.

Nothing here reads a file. A study is checked against these entries before anything runs; acquisition and
preparation follow them. Sources of the facts are named beside them; "reported" means read in public code or
documentation and not yet checked against the archives themselves.
"""

from dataclasses import dataclass, field
from typing import Literal

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Channel:
    """One input channel: its unit and how the published files store it."""

    name: str
    unit: str
    dtype: Literal["uint8", "uint16", "float32"] = "uint8"


@dataclass(frozen=True)
class LabelClass:
    """One class: its index in prepared labels is its place in the entry's tuple."""

    name: str
    colour: Colour


@dataclass(frozen=True)
class Archive:
    """One published file, by the path under which a user places it below the dataset's folder.

    `md5` is the published digest, or None where none is published. `optional` archives serve only some channels
    or label variants.
    """

    path: str
    md5: str | None = None
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One dataset of the catalogue."""

    name: str
    title: str
    kind: Literal["classification", "segmentation"]
    channels: tuple[Channel, ...]
    default_channels: tuple[str, ...]
    classes: tuple[LabelClass, ...] = ()
    ignore_index: int = 255
    label_variants: tuple[str, ...] = ("full",)
    """What the published labels come in; the first is the default for training."""
    split_protocols: tuple[str, ...] = ("official",)
    archives: tuple[Archive, ...] = ()
    unit: str = "image"
    """What the statistics resample: the largest independent source."""
    where: str = ""
    terms: str = ""
    citation: str = ""
    expected_counts: dict[str, int] = field(default_factory=dict)
    """Reported number of images in each split of the published archives."""

    @property
    def num_classes(self) -> int:
        return len(self.classes)


RED, GREEN, BLUE = (Channel(name, "8-bit digital number") for name in ("red", "green", "blue"))


def _classes(*rows: tuple[str, Colour]) -> tuple[LabelClass, ...]:
    return tuple(LabelClass(name, colour) for name, colour in rows)


IMAGENET1K = Entry(
    name="imagenet1k",
    title="ImageNet-1K (ILSVRC2012)",
    kind="classification",
    channels=(RED, GREEN, BLUE),
    default_channels=("red", "green", "blue"),
    # md5: torchvision/datasets/imagenet.py
    archives=(
        Archive("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e"),
        Archive("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622"),
        Archive("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"),
    ),
    where="https://image-net.org/download-images (account and agreement needed)",
    terms="non-commercial research and education; no redistribution",
    citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
    expected_counts={"train": 1_281_167, "val": 50_000},
)

ISAID = Entry(
    name="isaid",
    title="iSAID",
    kind="segmentation",
    channels=(RED, GREEN, BLUE),
    default_channels=("red", "green", "blue"),
    # Colours of P####_instance_color_RGB.png: iSAID_Devkit labels.py; mmsegmentation's converter agrees.
    classes=_classes(
        ("background", (0, 0, 0)),
        ("ship", (0, 0, 63)),
        ("storage_tank", (0, 63, 63)),
        ("baseball_diamond", (0, 63, 0)),
        ("tennis_court", (0, 63, 127)),
        ("basketball_court", (0, 63, 191)),
        ("ground_track_field", (0, 63, 255)),
        ("bridge", (0, 127, 63)),
        ("large_vehicle", (0, 127, 127)),
        ("small_vehicle", (0, 0, 127)),
        ("helicopter", (0, 0, 191)),
        ("swimming_pool", (0, 0, 255)),
        ("roundabout", (0, 191, 127)),
        ("soccer_ball_field", (0, 127, 191)),
        ("plane", (0, 127, 255)),
        ("harbor", (0, 100, 155)),
    ),
    archives=(
        Archive("train/images/part1.zip"),
        Archive("train/images/part2.zip"),
        Archive("train/images/part3.zip"),
        Archive("train/Semantic_masks/images.zip"),
        Archive("val/images/part1.zip"),
        Archive("val/Semantic_masks/images.zip"),
    ),
    unit="source image",
    where="https://captain-whu.github.io/iSAID/dataset.html and https://captain-whu.github.io/DOTA/dataset.html",
    terms="academic use only; imagery under Google Earth terms",
    citation="Waqas Zamir et al., iSAID, CVPR Workshops 2019",
    expected_counts={"train": 1_411, "val": 458},
)

MFNET = Entry(
    name="mfnet",
    title="MFNet",
    kind="segmentation",
    # Thermal is stored as the fourth plane of a four-plane PNG (MFNet-pytorch README).
    channels=(RED, GREEN, BLUE, Channel("thermal", "8-bit digital number, uncalibrated")),
    default_channels=("red", "green", "blue", "thermal"),
    # Palette for pictures only (labels are ids): RTFNet util/util.py.
    classes=_classes(
        ("unlabeled", (0, 0, 0)),
        ("car", (64, 0, 128)),
        ("person", (64, 64, 0)),
        ("bike", (0, 128, 192)),
        ("curve", (0, 0, 192)),
        ("car_stop", (128, 128, 0)),
        ("guardrail", (64, 64, 128)),
        ("color_cone", (192, 128, 128)),
        ("bump", (192, 64, 0)),
    ),
    split_protocols=("official", "train+val"),
    archives=(Archive("ir_seg_dataset.zip"),),
    unit="frame",
    where="https://www.mi.t.u-tokyo.ac.jp/static/projects/mil_multispectral/",
    terms="research use",
    citation="Ha et al., MFNet, IROS 2017",
    expected_counts={"train": 1_568, "val": 392, "test": 393},
)

PST900 = Entry(
    name="pst900",
    title="PST900",
    kind="segmentation",
    channels=(
        RED,
        GREEN,
        BLUE,
        Channel("thermal", "8-bit digital number after automatic gain control"),
        Channel("thermal_raw", "16-bit raw sensor count", "uint16"),
        Channel("depth", "16-bit stereo depth, zero where unknown", "uint16"),
    ),
    default_channels=("red", "green", "blue", "thermal"),
    # Indices are used; the toolkit's triples may be BGR, so classes 1 and 3 may swap colours in pictures.
    classes=_classes(
        ("background", (0, 0, 0)),
        ("fire_extinguisher", (0, 0, 255)),
        ("backpack", (0, 255, 0)),
        ("hand_drill", (255, 0, 0)),
        ("survivor", (255, 255, 255)),
    ),
    archives=(Archive("PST900_RGBT_Dataset.zip"),),
    unit="bag",
    where="https://github.com/ShreyasSkandanS/pst900_thermal_rgb",
    terms="research use",
    citation="Shivakumar et al., PST900, ICRA 2020",
    expected_counts={"train": 597, "test": 288},
)

POTSDAM = Entry(
    name="potsdam",
    title="ISPRS Potsdam",
    kind="segmentation",
    channels=(
        RED,
        GREEN,
        BLUE,
        Channel("infrared", "8-bit digital number"),
        Channel("height", "metres above the ellipsoid (DSM)", "float32"),
        Channel("height_normalised", "decimetres above ground, clipped at 25.5 m (lastools)"),
    ),
    default_channels=("red", "green", "blue", "infrared", "height"),
    # Order as mmsegmentation after reduce_zero_label; colours shared by mmsegmentation, GeoSeg and torchgeo.
    classes=_classes(
        ("impervious_surface", (255, 255, 255)),
        ("building", (0, 0, 255)),
        ("low_vegetation", (0, 255, 255)),
        ("tree", (0, 255, 0)),
        ("car", (255, 255, 0)),
        ("clutter", (255, 0, 0)),
    ),
    label_variants=("full", "eroded"),
    archives=(
        Archive("1_DSM.zip"),
        Archive("1_DSM_normalisation.zip", optional=True),
        Archive("2_Ortho_RGB.zip", optional=True),
        Archive("3_Ortho_IRRG.zip", optional=True),
        # md5: torchgeo datasets/potsdam.py; its entry for 5_Labels_all.zip is no valid md5.
        Archive("4_Ortho_RGBIR.zip", "c4a8f7d8c7196dd4eba4addd0aae10c1"),
        Archive("5_Labels_all.zip"),
        Archive("5_Labels_all_noBoundary.zip"),
    ),
    unit="tile",
    where="https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx",
    terms="research use, no redistribution; the share page asks for the password that ISPRS prints",
    citation="ISPRS 2D Semantic Labeling Contest, Potsdam",
    expected_counts={"train": 24, "test": 14},
)

CATALOG: dict[str, Entry] = {entry.name: entry for entry in (IMAGENET1K, ISAID, MFNET, PST900, POTSDAM)}

POTSDAM_SPLIT: dict[str, tuple[str, ...]] = {
    # Official 24/14 tiles: mmsegmentation tools/dataset_converters/potsdam.py.
    "train": tuple("2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12".split())
    + tuple("6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12".split()),
    "test": tuple("2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13".split()),
}
