"""ImageNet-1K (ILSVRC2012)."""

from bench.catalog.entry import BLUE, GREEN, RED, Archive, Entry

IMAGENET1K = Entry(
    name="imagenet1k",
    title="ImageNet-1K (ILSVRC2012)",
    kind="classification",
    channels=(RED, GREEN, BLUE),
    default_channels=("red", "green", "blue"),
    # md5: torchvision/datasets/imagenet.py
    archives=(
        Archive("ILSVRC2012_img_train.tar", "1d675b47d978889d74fa0da5fadfb00e"),
        Archive("ILSVRC2012_img_val.tar", "29b22e2961454d5413ddabcf34fc5622"),
        Archive("ILSVRC2012_devkit_t12.tar.gz", "fa75699e90414af021442c21a62c3abf"),
    ),
    where="https://image-net.org/download-images (account and agreement needed)",
    terms="non-commercial research and education; no redistribution",
    citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
    expected_counts={"train": 1_281_167, "val": 50_000},
)
