"""ISPRS Potsdam."""

from bench.catalog.entry import (
    BLUE,
    GREEN,
    RED,
    Archive,
    Channel,
    Defect,
    Entry,
    Geometry,
    Members,
    named_classes,
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
    classes=named_classes(
        ("impervious_surface", (255, 255, 255)),
        ("building", (0, 0, 255)),
        ("low_vegetation", (0, 255, 255)),
        ("tree", (0, 255, 0)),
        ("car", (255, 255, 0)),
        ("clutter", (255, 0, 0)),
    ),
    label_variants=("full", "eroded"),
    split_protocols=("official", "without-7_10", "without-7_10-val-2_10", "18-6"),
    protocols={
        "official": "24 tiles train, 14 evaluate (mmsegmentation, torchgeo)",
        "without-7_10": "23 tiles train, 14 evaluate: tile 7_10, whose annotation is reported to be faulty, is left "
        "out (the family of GeoSeg)",
        "without-7_10-val-2_10": "22 tiles train, 2_10 validates, 14 evaluate (some of the family of GeoSeg)",
        "18-6": "18 of the 24 labelled tiles train, 6 of them evaluate (SSRS: work on colours, infrared and height); a "
        "split 17/6/14 is reported too, but no source names its tiles, so there is none here",
        "full": "every pixel is labelled; black is an error",
        "eroded": "3 pixels along each border between objects are black and ignored",
        "512/512": "patches of 512 pixels without overlap but at the last row and column: what mmsegmentation does",
        "512/256": "patches of 512 pixels every 256: what mmsegmentation says it does",
    },
    # 12 x 12 and 23 x 23 patches a tile of 6000 pixels; the first are mmsegmentation's published counts.
    geometries=(
        Geometry(name="512/512", patch=512, stride=512, counts={"train": 3_456, "test": 2_016}),
        Geometry(name="512/256", patch=512, stride=256, counts={"train": 12_696, "test": 7_406}),
    ),
    defects=(
        Defect(
            rule="potsdam-4_12-{variant}-cut-at-128",
            what="the labels of tile 4_12 are blended with the picture: 24,850 colours, none of the palette; each "
            "channel is cut at 128, since the palette knows 0 and 255 alone",
            source="reported by users of the full labels; a patched mmsegmentation converter for the eroded ones",
        ),
        Defect(
            rule="potsdam-6_7-{variant}-cars-recoloured",
            what="cars of tile 6_7 are 252,255,0 instead of 255,255,0",
            source="reported by users of the full labels",
        ),
        Defect(
            rule="potsdam-3_13-{channel}-edge-repeated",
            what="the surface models of tile 3_13 lack their last column; the one beside it is repeated",
            source="reported by users; other code pads with zero",
        ),
        Defect(
            rule="potsdam-lastools",
            what="some files of ..._normalized_ownapproach.jpg are empty; ..._normalized_lastools.jpg are read",
            source="reported by users",
        ),
    ),
    archives=(
        Archive("1_DSM.zip", holds=(Members(r"dsm_potsdam_\d+_\d+\.tif$", 38),)),
        Archive(
            "1_DSM_normalisation.zip",
            optional=True,
            holds=(Members(r"dsm_potsdam_\d+_\d+_normalized_lastools\.jpg$", 38),),
        ),
        Archive("2_Ortho_RGB.zip", optional=True, holds=(Members(r"top_potsdam_\d+_\d+_RGB\.tif$", 38),)),
        Archive("3_Ortho_IRRG.zip", optional=True, holds=(Members(r"top_potsdam_\d+_\d+_IRRG\.tif$", 38),)),
        # md5: torchgeo datasets/potsdam.py; its entry for 5_Labels_all.zip is no valid md5.
        Archive("4_Ortho_RGBIR.zip", "c4a8f7d8c7196dd4eba4addd0aae10c1"),
        Archive("5_Labels_all.zip", holds=(Members(r"top_potsdam_\d+_\d+_label\.tif$", 38),)),
        Archive(
            "5_Labels_all_noBoundary.zip",
            holds=(Members(r"top_potsdam_\d+_\d+_label_noBoundary\.tif$", 38),),
        ),
    ),
    # About 13.3 GB, as reported.
    bundle=Archive(
        "Potsdam.zip",
        url="https://seafile.projekt.uni-hannover.de/f/429be50cc79d423ab6c4/",
        password="BENCH_POTSDAM_PASSWORD",
    ),
    unit="tile",
    where="https://www.isprs.org/resources/datasets/benchmarks/UrbanSemLab/2d-sem-label-potsdam.aspx (it prints the "
    "password of the share page https://seafile.projekt.uni-hannover.de/f/429be50cc79d423ab6c4/)",
    terms="research use, no redistribution",
    citation="ISPRS 2D Semantic Labeling Contest, Potsdam (ISPRS Commission II)",
    expected_counts={"train": 24, "test": 14},
)

POTSDAM_SPLIT: dict[str, tuple[str, ...]] = {
    # Official 24/14 tiles: mmsegmentation tools/dataset_converters/potsdam.py.
    "train": tuple("2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12".split())
    + tuple("6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12".split()),
    "test": tuple("2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13".split()),
}


def _without(*tiles: str) -> tuple[str, ...]:
    """Return the official training tiles but for `tiles`."""
    return tuple(tile for tile in POTSDAM_SPLIT["train"] if tile not in tiles)


# SSRS: the loaders of CMFNet and FTransUNet.
_SIX = tuple("2_11 3_10 4_10 5_11 6_11 7_12".split())

POTSDAM_SPLITS: dict[str, dict[str, tuple[str, ...]]] = {
    # Tiles by split protocol and split; a split that is not named is empty.
    "official": POTSDAM_SPLIT,
    "without-7_10": {"train": _without("7_10"), "test": POTSDAM_SPLIT["test"]},
    "without-7_10-val-2_10": {
        "train": _without("7_10", "2_10"),
        "val": ("2_10",),
        "test": POTSDAM_SPLIT["test"],
    },
    "18-6": {"train": _without(*_SIX), "test": _SIX},
}
