"""iSAID."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Entry, named_classes

ISAID = Entry(
    name="isaid",
    title="iSAID",
    kind="segmentation",
    channels=(RED, GREEN, BLUE),
    default_channels=("red", "green", "blue"),
    # Colours of P####_instance_color_RGB.png: iSAID_Devkit labels.py; mmsegmentation's converter agrees.
    classes=named_classes(
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
