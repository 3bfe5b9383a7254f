"""iSAID."""

from bench.catalog.entry import (
    BLUE,
    GREEN,
    RED,
    Archive,
    Defect,
    Entry,
    Form,
    Geometry,
    Members,
    named_classes,
)

DOTA_MIRROR = (
    "https://huggingface.co/datasets/isaaccorley/dota/resolve/672e63236622f7da6ee37fca44c50ac368b77cab/"
)
MASK_MIRROR = "https://huggingface.co/datasets/torchgeo/isaid/resolve/main/"
IMAGES = r"(^|/)P\d{4,}\.png$"
MASKS = r"(^|/)P\d{4,}_instance_color_RGB\.png$"

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
    protocols={
        "official": "1,411 images train, 458 of val evaluate: the masks of test are not public, so papers report val",
        "896/512": "patches of 896 pixels every 512, as mmsegmentation cuts them; what is smaller is padded with "
        "image 0 and label 255; with the pixel rule patches, pixels where patches overlap count more than once "
        "(mmseg-patches), with full, the patches are stitched and each pixel counts once (mmseg-stitched)",
    },
    # mmsegmentation docs/en/user_guides/2_dataset_prepare.md
    geometries=(Geometry(name="896/512", patch=896, stride=512, counts={"train": 33_978, "val": 11_644}),),
    defects=(
        Defect(
            rule="isaid-instance-masks-passed-over",
            what="P####_instance_id_RGB.png lies beside the class mask and numbers instances by colour; only "
            "P####_instance_color_RGB.png is read",
            source="iSAID_Devkit README",
        ),
        Defect(
            rule="isaid-off-palette-refused",
            what="the converter of mmsegmentation turns a colour outside the palette into class 0; here it is an "
            "error that names file and colour",
            source="mmsegmentation tools/dataset_converters/isaid.py",
        ),
        Defect(
            rule="isaid-grey-repeated",
            what="a few images are stored as one grey plane; it is repeated to three",
            source="reported; named with its pixels when the archives are prepared",
        ),
        Defect(
            rule="isaid-all-images-kept",
            what="the devkit and code derived from it skip P1527 and P1530; mmsegmentation does not, nor is it "
            "done here",
            source="iSAID_Devkit preprocess/split.py",
        ),
    ),
    archives=(
        # As mmsegmentation's guide lists them. Neither sizes nor digests are published.
        # How the 1,411 images are dealt among the three parts is not published.
        Archive("train/images/part1.zip", holds=(Members(IMAGES),)),
        Archive("train/images/part2.zip", holds=(Members(IMAGES),)),
        Archive("train/images/part3.zip", holds=(Members(IMAGES),)),
        Archive("train/Semantic_masks/images.zip", holds=(Members(MASKS, 1_411),)),
        Archive("val/images/part1.zip", holds=(Members(IMAGES, 458),)),
        Archive("val/Semantic_masks/images.zip", holds=(Members(MASKS, 458),)),
    ),
    mirrors=(
        Form(
            name="mirror",
            archives=(
                # DOTA-v1.0 images with md5: torchgeo datasets/dota.py. The masks have no published digest; whether
                # they equal the official ones was not checked.
                Archive(
                    "dotav1.0_images_train.tar.gz",
                    "363b472dc3c71e7fa2f4a60223b437ea",
                    url=f"{DOTA_MIRROR}dotav1.0_images_train.tar.gz",
                    place="train/images",
                ),
                Archive(
                    "dotav1.0_images_val.tar.gz",
                    "42293219ba61d61c417ae558bbe1f2ba",
                    url=f"{DOTA_MIRROR}dotav1.0_images_val.tar.gz",
                    place="val/images",
                ),
                Archive(
                    "isaid_annotations_train.tar.gz",
                    url=f"{MASK_MIRROR}isaid_annotations_train.tar.gz",
                    place="train/Semantic_masks",
                    holds=(Members(MASKS, 1_411),),
                ),
                Archive(
                    "isaid_annotations_val.tar.gz",
                    url=f"{MASK_MIRROR}isaid_annotations_val.tar.gz",
                    place="val/Semantic_masks",
                    holds=(Members(MASKS, 458),),
                ),
            ),
            where="https://huggingface.co/datasets/isaaccorley/dota and "
            "https://huggingface.co/datasets/torchgeo/isaid",
            terms="non-commercial, imagery under Google Earth terms; masks CC BY-NC 4.0 as reported",
        ),
    ),
    unit="source image",
    where="https://captain-whu.github.io/iSAID/dataset.html (masks; Google Drive or Baidu) and "
    "https://captain-whu.github.io/DOTA/dataset.html (images)",
    terms="academic use only; imagery under Google Earth terms",
    citation="S. Waqas Zamir et al., iSAID: A Large-scale Dataset for Instance Segmentation in Aerial Images, "
    "CVPR Workshops 2019, arXiv 1905.12886; images: G.-S. Xia et al., DOTA, CVPR 2018, arXiv 1711.10398",
    expected_counts={"train": 1_411, "val": 458},
)
