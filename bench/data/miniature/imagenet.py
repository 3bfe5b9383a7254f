"""The miniature ImageNet-1K: a tar of tars, a flat tar, and a devkit whose ids are in an order of their own."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.miniature.class_pictures import CLASSES, class_picture
from bench.data.miniature.dealing import generator_for
from bench.data.miniature.packing import gzip_bytes, matlab, picture, tar_bytes, write_bytes
from bench.seeds import seed_for
from bench.study.datasets import Miniature


def write_imagenet(folder: Path, sizes: Miniature) -> None:
    """Write the three archives; a few training pictures are grey or CMYK, as in the real ones."""

    def drawn(split: str, index: int, number: int) -> NDArray[np.uint8]:
        generator = generator_for(sizes, "imagenet1k", split, CLASSES[index].wnid, number)
        # Real pictures are of any size; a third of these are longer than they are high, or the reverse.
        spare = int(generator.integers(1, sizes.side // 4)) if number % 3 == 0 else 0
        shape = (sizes.side, sizes.side + spare) if number % 2 else (sizes.side + spare, sizes.side)
        return class_picture(generator, CLASSES[index], shape)

    # ILSVRC ids in an order that is not that of the WordNet ids, as in the real devkit.
    order = np.random.default_rng(seed_for("miniature", "imagenet1k", "ids")).permutation(len(CLASSES))
    if (np.diff(order) > 0).all():
        order = order[::-1]
    train = {}
    for index, drawn_class in enumerate(CLASSES):
        pictures = {}
        for number in range(sizes.train_images):
            mode = {(0, 1): "L", (1, 1): "CMYK", (2, 1): "L"}.get((index, number))
            # Real file numbers have gaps.
            file = f"{drawn_class.wnid}_{3 * number + 2 + index % 2}.JPEG"
            pictures[file] = picture(drawn("train", index, number), "JPEG", mode)
        train[f"{drawn_class.wnid}.tar"] = tar_bytes(pictures)
    write_bytes(folder / "ILSVRC2012_img_train.tar", tar_bytes(train))

    shuffled = np.random.default_rng(seed_for("miniature", sizes.seed, "imagenet1k", "val"))
    cells = [(index, number) for index in range(len(CLASSES)) for number in range(sizes.val_images)]
    cells = [cells[place] for place in shuffled.permutation(len(cells))]
    val = {
        f"ILSVRC2012_val_{place:08d}.JPEG": picture(drawn("val", index, number), "JPEG")
        for place, (index, number) in enumerate(cells, start=1)
    }
    write_bytes(folder / "ILSVRC2012_img_val.tar", tar_bytes(val))

    identifier = {index: place for place, index in enumerate(order.tolist(), start=1)}
    truth = "".join(f"{identifier[index]}\n" for index, _ in cells)
    root = "ILSVRC2012_devkit_t12"
    devkit = {
        f"{root}/data/meta.mat": matlab({"synsets": _synsets(order.tolist(), sizes.train_images)}),
        f"{root}/data/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }
    write_bytes(folder / "ILSVRC2012_devkit_t12.tar.gz", gzip_bytes(tar_bytes(devkit)))


def _synsets(order: list[int], train_images: int) -> NDArray[np.void]:
    """Return the devkit's struct array: leaves with ids 1 to C first, then internal nodes with their children."""
    leaves = [CLASSES[index] for index in order]
    count = len(leaves)
    made = [place for place, leaf in enumerate(leaves, start=1) if leaf.texture is None]
    grown = [place for place, leaf in enumerate(leaves, start=1) if leaf.texture is not None]
    inner = (
        ("n00021939", "artifact, artefact", made, 1),
        ("n00019128", "natural object", grown, 1),
        ("n00001740", "entity", [count + 1, count + 2], 2),
    )
    rows = [
        (place, leaf.wnid, leaf.words, "a drawn stand-in", 0, np.zeros((1, 0), np.uint8), 0, train_images)
        for place, leaf in enumerate(leaves, start=1)
    ] + [
        (place, wnid, words, "an inner node", len(children), np.array([children], np.uint16), height, 0)
        for place, (wnid, words, children, height) in enumerate(inner, start=count + 1)
    ]
    fields = "ILSVRC2012_ID WNID words gloss num_children children wordnet_height num_train_images".split()
    table = np.empty((len(rows), 1), dtype=[(field, object) for field in fields])
    for place, row in enumerate(rows):
        table[place, 0] = row
    return table
