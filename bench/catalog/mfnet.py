"""MFNet."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Channel, Defect, Entry, Members, named_classes

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
    groups=("day", "night"),
    protocols={
        "official": "train.txt trains (784 frames and their 784 mirror images), val.txt validates (392), test.txt "
        "evaluates (393)",
        "train+val": "the frames of train and val train together, without mirror images (1,176 frames), as in Sigma "
        "and by users of CMX",
        "day": "the 205 frames of test taken by day (D in their names)",
        "night": "the 188 frames of test taken by night (N in their names)",
    },
    defects=(
        Defect(
            rule="mfnet-flip-at-load",
            what="train.txt names 784 `_flip` frames that exist only after make_flip.py has run; the frame itself is "
            "mirrored when it is loaded",
            source="dataset README",
        ),
        Defect(
            rule="mfnet-flip-left-out",
            what="train+val leaves the `_flip` names out, so that frames of both lists weigh the same",
            source="Sigma, list train2.txt",
        ),
        Defect(
            rule="mfnet-black-list-left-out",
            what="frames in black_list.txt have no annotation and are left out of every list",
            source="dataset README",
        ),
        Defect(
            rule="mfnet-unlisted-left-out",
            what="frames in images/ or labels/ that neither a list nor black_list.txt names are left out, and named",
            source="here: every file is accounted for",
        ),
        Defect(
            rule="mfnet-planes-split-first",
            what="thermal lies where a PNG keeps its alpha, and resizing such a picture whole mixes it into the "
            "colours; the planes are split before anything else",
            source="MFNet-pytorch util/MF_dataset.py",
        ),
    ),
    # Neither size nor digest is published; 1,569 frames are (MFNet-pytorch README). It is fetched by hand because the
    # page links a folder and the id of the file inside is published nowhere.
    archives=(
        Archive(
            "ir_seg_dataset.zip",
            holds=(
                Members(r"images/\d+[DN]\.png$", 1_569),
                Members(r"labels/\d+[DN]\.png$", 1_569),
                Members(r"train\.txt$"),
                Members(r"val\.txt$"),
                Members(r"test\.txt$"),
                Members(r"test_day\.txt$"),
                Members(r"test_night\.txt$"),
            ),
        ),
    ),
    unit="frame",
    where="https://www.mi.t.u-tokyo.ac.jp/static/projects/mil_multispectral/ (it links a Google Drive folder, "
    "https://drive.google.com/drive/folders/18BQFWRfhXzSuMloUmtiBRFrr6NSrf8Fw; by hand, for the id of the "
    "file in it is not known)",
    terms="research use",
    citation="Q. Ha et al., MFNet: Towards Real-Time Semantic Segmentation for Autonomous Vehicles with "
    "Multi-Spectral Scenes, IROS 2017",
    expected_counts={"train": 1_568, "val": 392, "test": 393},
)
