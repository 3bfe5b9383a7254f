"""ISPRS Potsdam."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Channel, Entry, named_classes

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
    classes=named_classes(
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

POTSDAM_SPLIT: dict[str, tuple[str, ...]] = {
    # Official 24/14 tiles: mmsegmentation tools/dataset_converters/potsdam.py.
    "train": tuple("2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12".split())
    + tuple("6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12".split()),
    "test": tuple("2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13".split()),
}
