"""ImageNet-1K (ILSVRC2012)."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Defect, Entry

IMAGENET1K = Entry(
    name="imagenet1k",
    title="ImageNet-1K (ILSVRC2012)",
    kind="classification",
    channels=(RED, GREEN, BLUE),
    default_channels=("red", "green", "blue"),
    class_note="1,000 synsets, counted in the order of their sorted WNIDs; names from the devkit's meta.mat",
    protocols={"official": "train trains, val (50,000 photographs) measures top-1"},
    defects=(
        Defect(
            rule="ilsvrc-ids-mapped",
            what="the devkit's labels of val are 1-based ILSVRC ids, not places among the sorted WNIDs; they are "
            "mapped through meta.mat, where the synsets without children are the classes",
            source="torchvision datasets/imagenet.py",
        ),
        Defect(
            rule="{mode}-converted-to-rgb",
            what="a few photographs are grey or CMYK; they are converted to RGB",
            source="reported; counted by name when the archives are prepared",
        ),
        Defect(
            rule="{form}-read-by-content",
            what="one photograph is reported to be a PNG under a JPEG's name; all are read by their content",
            source="reported; counted when the archives are prepared",
        ),
        Defect(
            rule="exif-orientation-not-applied",
            what="pixels are taken as they are stored, as the loaders of timm and torchvision do, whatever an EXIF "
            "orientation says",
            source="torchvision datasets/folder.py; counted when the archives are prepared",
        ),
    ),
    archives=(
        # Sizes and sha256: tensorflow/datasets url_checksums/imagenet2012.txt; md5: torchvision datasets/imagenet.py.
        Archive(
            "ILSVRC2012_img_train.tar",
            "1d675b47d978889d74fa0da5fadfb00e",
            size=147_897_477_120,
            sha256="b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb",
            place="train",
            inner_tars=True,
        ),
        Archive(
            "ILSVRC2012_img_val.tar",
            "29b22e2961454d5413ddabcf34fc5622",
            size=6_744_924_160,
            sha256="c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0",
            place="val",
        ),
        Archive("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"),
    ),
    where="https://image-net.org/download-images (an account, and agreement to the terms)",
    terms="non-commercial research and education; no redistribution",
    citation="O. Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 115, 2015",
    expected_counts={"train": 1_281_167, "val": 50_000},
)
