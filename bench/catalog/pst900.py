"""PST900."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Channel, Defect, Entry, Members, named_classes

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
    protocols={
        "official": "597 frames train, 288 evaluate; there is no validation split. Frames of one bag are neighbours "
        "in time, so a hold-out is drawn by bag",
        "thermal-inpaint": "each zero-valued pixel of thermal and thermal_raw takes the value of the nearest pixel "
        "that has one, which is not the authors' Telea in-painting; unset, they stay zero and are counted",
    },
    rules=("thermal-inpaint",),
    defects=(
        Defect(
            rule="pst900-{thermal}-holes-{kept}",
            what="thermal has zero-valued holes where the projection onto the colour camera saw nothing; they are "
            "counted and kept, or filled by the nearest value where a study asks for thermal-inpaint: most public code "
            "does not fill them",
            source="pst900_thermal_rgb toolkit (fills them: Telea, radius 10)",
        ),
        Defect(
            rule="pst900-counts-of-the-folders",
            what="README and paper speak of 894 samples (606 and 288), the folders hold 885 (597 and 288); the "
            "latter are expected",
            source="Sigma configs/config_pst900.py",
        ),
        Defect(
            rule="pst900-unlabelled-left-out",
            what="frames without a label in folders that a study does not read are left out, and named with the number "
            "of such folders; in folders that it reads they are an error",
            source="here: every file is accounted for",
        ),
        Defect(
            rule="unit-in-two-splits",
            what="a bag with frames in train and in test stays where the published split has it, and is named; a part "
            "held out to validate on never takes it",
            source="here: counted when the archives are prepared",
        ),
    ),
    # 1.4 GB as the README says; neither exact size nor digest is published.
    archives=(
        Archive(
            "PST900_RGBT_Dataset.zip",
            url="https://www.dropbox.com/s/5eyfi503gp5ri8d/PST900_RGBT_Dataset.zip?dl=1",
            holds=(
                Members(r"train/rgb/[^/]+\.png$", 597),
                Members(r"train/thermal/[^/]+\.png$", 597),
                Members(r"train/labels/[^/]+\.png$", 597),
                Members(r"test/rgb/[^/]+\.png$", 288),
                Members(r"test/thermal/[^/]+\.png$", 288),
                Members(r"test/labels/[^/]+\.png$", 288),
            ),
        ),
    ),
    unit="bag",
    where="https://github.com/ShreyasSkandanS/pst900_thermal_rgb (Dropbox or Google Drive)",
    terms="research use",
    citation="S. S. Shivakumar et al., PST900: RGB-Thermal Calibration, Dataset and Segmentation Network, ICRA 2020",
    expected_counts={"train": 597, "test": 288},
)
