"""What others have published of speed and size: a rough price where nothing was measured, and marked as such."""

from dataclasses import dataclass

from bench.plan.calibration import Case, Measured

SOURCE = (
    "published: classifiers as timm timed them on an RTX 3090 (AMP, channels last, 224 pixels); other sizes and "
    "UperNet in proportion to their multiply-adds, which no card follows exactly"
)
DEVICE = "RTX 3090"
COUNTED_AT = 512
"""Pixels of the side at which UperNet's multiply-adds were counted."""
HEADS = (512, 256)
"""Channels of the head and of the auxiliary head with which they were counted."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """One network as published."""

    family: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    images_per_second: float
    """Training at 224 pixels, RTX 3090: timm, results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv."""
    multiply_adds: float
    """Forward pass of one image of 224 pixels, counted on our network by torch's FlopCounterMode (a test counts again);
    the networks' own READMEs say 4.46 G and 4.5 G.
    """
    parameters: int
    """With 1,000 classes."""
    segmenter_multiply_adds: float
    """UperNet in training on one image of 512 x 512 pixels, with its auxiliary head and 16 classes, counted so too. At
    2048 x 512 pixels and 150 classes, without the auxiliary head, the count is 938 G and 944 G.
    """
    segmenter_parameters: int
    """With 16 classes."""


NETWORKS = (
    Known(
        family="convnext",
        depths=(3, 3, 9, 3),
        widths=(96, 192, 384, 768),
        images_per_second=813.2,
        multiply_adds=4_455_531_264,
        parameters=28_589_128,
        segmenter_multiply_adds=234_422_206_464,
        segmenter_parameters=60_139_456,
    ),
    Known(
        family="swin",
        depths=(2, 2, 6, 2),
        widths=(96, 192, 384, 768),
        images_per_second=646.8,
        multiply_adds=4_490_566_656,
        parameters=28_288_354,
        segmenter_multiply_adds=236_650_882_944,
        segmenter_parameters=59_838_682,
    ),
)


def published(case: Case) -> Measured | None:
    """Return the published price of a case; None for a network of which nothing is published."""
    if case.heads not in (None, HEADS):
        return None
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
    per_pixel = known.segmenter_multiply_adds / COUNTED_AT**2 if whole else known.multiply_adds / 224**2
    return Measured(
        seconds_per_image=per_pixel * case.crop**2 / rate,
        predicted_per_image=per_pixel * case.window**2 / rate / 3,
        memory=None,
        predicted_memory=None,
        parameters=known.segmenter_parameters if whole else known.parameters,
        batch=case.batch,
    )
