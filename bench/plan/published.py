"""What others have published of speed and size: a rough price where nothing was measured, and marked as such."""

from dataclasses import dataclass

from bench.plan.calibration import Case, Measured

SOURCE = (
    "published: classifiers as timm timed them on an RTX 3090 (AMP, channels last, 224 pixels); other sizes and "
    "UperNet in proportion to their published multiply-adds, which no card follows exactly"
)
DEVICE = "RTX 3090"


@dataclass(frozen=True, kw_only=True)
class Known:
    """One network as published."""

    family: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    images_per_second: float
    """Training at 224 pixels, RTX 3090: timm, results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv."""
    multiply_adds: float
    """One image of 224 pixels: the networks' own READMEs."""
    parameters: int
    segmenter_multiply_adds: float
    """UperNet on 2048 x 512 pixels: semantic_segmentation/README.md of ConvNeXt, README.md of Swin's segmentation."""
    segmenter_parameters: int


NETWORKS = (
    Known(
        family="convnext",
        depths=(3, 3, 9, 3),
        widths=(96, 192, 384, 768),
        images_per_second=813.2,
        multiply_adds=4.46e9,
        parameters=28_590_000,
        segmenter_multiply_adds=939e9,
        segmenter_parameters=60_000_000,
    ),
    Known(
        family="swin",
        depths=(2, 2, 6, 2),
        widths=(96, 192, 384, 768),
        images_per_second=646.8,
        multiply_adds=4.5e9,
        parameters=28_290_000,
        segmenter_multiply_adds=945e9,
        segmenter_parameters=60_000_000,
    ),
)


def published(case: Case) -> Measured | None:
    """Return the published price of a case; None for a network of which nothing is published."""
    architecture = case.architecture
    for known in NETWORKS:
        same = (known.family, known.depths, known.widths) == (
            architecture["family"],
            tuple(architecture["depths"]),
            tuple(architecture["widths"]),
        )
        if same:
            return _scaled(known, case)
    return None


def _scaled(known: Known, case: Case) -> Measured:
    """Scale the classifier's speed to another size or to UperNet by multiply-adds; predicting is a third of a step."""
    rate = known.multiply_adds * known.images_per_second
    whole = case.heads is not None
    per_pixel = known.segmenter_multiply_adds / (2048 * 512) if whole else known.multiply_adds / 224**2
    return Measured(
        seconds_per_image=per_pixel * case.crop**2 / rate,
        predicted_per_image=per_pixel * case.window**2 / rate / 3,
        memory=None,
        predicted_memory=None,
        parameters=known.segmenter_parameters if whole else known.parameters,
        batch=case.batch,
    )
