"""The miniature Potsdam: seven zips of tiles under real names, with the defects that are published."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from bench.catalog.potsdam import POTSDAM, POTSDAM_SPLIT
from bench.data.miniature.canvas import digital
from bench.data.miniature.dealing import generator_for, other_scenes
from bench.data.miniature.packing import picture, tiff, write_zip
from bench.data.miniature.scenes import Scene, potsdam_scene
from bench.study.datasets import Miniature

DEFECT_TILES = ("4_12", "6_7", "3_13")


def write_potsdam(folder: Path, sizes: Miniature) -> None:
    """Write the seven archives; `5_Labels_all.zip` is flat, the others hold a folder of their own name."""
    colours = np.array([entry.colour for entry in POTSDAM.classes], np.uint8)
    side = 5 * sizes.side // 2
    zips: dict[str, dict[str, bytes]] = {
        archive.path: {} if archive.path == "5_Labels_all.zip" else {f"{Path(archive.path).stem}/": b""}
        for archive in POTSDAM.archives
    }
    for tile in _potsdam_tiles(sizes):
        scene = potsdam_scene(generator_for(sizes, "potsdam", tile), (side, side))
        label = colours[scene.label_HW]
        eroded = np.where(_boundary(scene.label_HW)[:, :, None], 0, label).astype(np.uint8)
        if tile == "4_12":
            label, eroded = (_blended(pixels, scene.rgb_HWC) for pixels in (label, eroded))
        if tile == "6_7":
            cars = (label == POTSDAM.classes[4].colour).all(2)
            label[cars] = (252, 255, 0)
        for path, files in _potsdam_files(tile, scene, label, eroded).items():
            zips[path] |= files
    for path, members in zips.items():
        write_zip(folder / path, members)


def _potsdam_files(
    tile: str, scene: Scene, label: NDArray[np.uint8], eroded: NDArray[np.uint8]
) -> dict[str, dict[str, bytes]]:
    """Return one tile's files by archive: heights under zero-padded names, the rest under plain ones."""
    assert scene.surface_HW is not None
    assert scene.above_HW is not None
    assert scene.infrared_HW is not None
    row, column = (int(number) for number in tile.split("_"))
    top, dsm = f"top_potsdam_{tile}", f"dsm_potsdam_{row:02d}_{column:02d}"
    rgb, infrared = scene.rgb_HWC, scene.infrared_HW[:, :, None]
    surface, above = scene.surface_HW, np.clip(10 * scene.above_HW, 0, 255).astype(np.uint8)
    if tile == "3_13":
        surface, above = surface[:, :-1], above[:, :-1]
    # Pixel size 5 cm; the upper left pixel's centre in metres east and north.
    world = f"0.05\n0.0\n0.0\n-0.05\n{366000 + 300 * column:.3f}\n{5808000 - 300 * row:.3f}\n".encode()
    height, ortho = {f"1_DSM/{dsm}.tif": tiff(surface), f"1_DSM/{dsm}.tfw": world}, {}
    for archive, letters, pixels in (
        ("2_Ortho_RGB", "RGB", rgb),
        ("3_Ortho_IRRG", "IRRG", np.concatenate([infrared, rgb[:, :, :2]], axis=2)),
        ("4_Ortho_RGBIR", "RGBIR", np.concatenate([rgb, infrared], axis=2)),
    ):
        stem = f"{archive}/{top}_{letters}"
        ortho[f"{archive}.zip"] = {f"{stem}.tif": tiff(pixels), f"{stem}.tfw": world}
    normalised = f"1_DSM_normalisation/{dsm}_normalized"
    jpeg = picture(above, "JPEG")
    return {
        "1_DSM.zip": height,
        "1_DSM_normalisation.zip": {
            f"{normalised}_lastools.jpg": jpeg,
            f"{normalised}_ownapproach.jpg": b"" if tile == "3_13" else jpeg,
        },
        **ortho,
        "5_Labels_all.zip": {f"{top}_label.tif": tiff(label)},
        "5_Labels_all_noBoundary.zip": {f"5_Labels_all_noBoundary/{top}_label_noBoundary.tif": tiff(eroded)},
    }


def _potsdam_tiles(sizes: Miniature) -> Iterator[str]:
    """Yield real tile names of the official split, those with published defects first, at most all of them."""
    for split, count in (("train", sizes.scenes), ("test", other_scenes(sizes))):
        yield from sorted(POTSDAM_SPLIT[split], key=lambda tile: tile not in DEFECT_TILES)[:count]


def _boundary(label_HW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels with another class within one pixel: three pixels at full size, scaled to these tiles."""
    boundary: NDArray[np.bool_] = maximum_filter(label_HW, 3) != minimum_filter(label_HW, 3)
    return boundary


def _blended(label: NDArray[np.uint8], rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a colour label mixed with its picture at weight 0.17, as tile 4_12 is published."""
    return digital(0.83 * label + 0.17 * rgb)
