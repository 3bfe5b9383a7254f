"""MFNet."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Channel, Entry, named_classes

MFNET = Entry(
    name="mfnet",
    title="MFNet",
    kind="segmentation",
    # Thermal is stored as the fourth plane of a four-plane PNG (MFNet-pytorch README).
    channels=(RED, GREEN, BLUE, Channel("thermal", "8-bit digital number, uncalibrated")),
    default_channels=("red", "green", "blue", "thermal"),
    # Palette for pictures only (labels are ids): RTFNet util/util.py.
    classes=named_classes(
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
