"""PST900."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Channel, Entry, named_classes

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
    classes=named_classes(
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
