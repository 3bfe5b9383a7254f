"""Pictures are read as stored, or refused."""

import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from bench.data.pictures import read_plane, read_planes, read_rgb
from bench.errors import BenchError

RNG = np.random.default_rng(0)


def png_header(bits: int, colour: int) -> bytes:
    return (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (7).to_bytes(4) + (5).to_bytes(4) + bytes([bits, colour, 0, 0, 0])
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "suffix"),
    [
        ("uint8", (5, 7, 1), ".png"),
        ("uint16", (5, 7, 1), ".png"),
        ("uint8", (5, 7, 3), ".png"),
        ("uint8", (5, 7, 4), ".png"),
        ("float32", (5, 7, 1), ".tif"),
        ("uint16", (5, 7, 4), ".tif"),
    ],
)
def test_every_depth_and_number_of_planes_comes_back_unchanged(dtype, shape, suffix, tmp_path):
    planes = RNG.integers(0, 250, shape).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, planes.squeeze(), photometric="minisblack", planarconfig="contig")
    else:
        Image.fromarray(planes.squeeze()).save(path)
    found = read_planes(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, planes)


def test_a_transparent_pixel_keeps_its_colours(tmp_path):
    # Thermal in the place of alpha: a cold pixel must not darken or lose its red, green and blue.
    planes = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]]], np.uint8)
    Image.fromarray(planes).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_planes(tmp_path / "a.png"), planes)


def test_a_tiff_stored_plane_by_plane_is_read_as_hwc(tmp_path):
    planes = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    separate = np.moveaxis(planes, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", separate, photometric="minisblack", planarconfig="separate")
    np.testing.assert_array_equal(read_planes(tmp_path / "a.tif"), planes)


def test_a_predicted_tiff_is_read(tmp_path):
    planes = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    # Tag 317: each row is stored as differences.
    Image.fromarray(planes).save(tmp_path / "a.tif", compression="tiff_adobe_deflate", tiffinfo={317: 2})
    np.testing.assert_array_equal(read_planes(tmp_path / "a.tif"), planes)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiffs_are_read(compression, tmp_path):
    planes = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(planes).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_planes(tmp_path / "a.tif"), planes)


def test_a_compressed_tiff_with_multiplied_alpha_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)).save(path, compression="tiff_lzw")
    # Tag 338 (ExtraSamples), one SHORT: 2 is plain alpha, as Pillow writes; 1 is multiplied into colours.
    plain, multiplied = (struct.pack("<HHII", 338, 3, 1, kind) for kind in (2, 1))
    assert path.read_bytes().count(plain) == 1
    read_planes(path)
    path.write_bytes(path.read_bytes().replace(plain, multiplied))
    with pytest.raises(BenchError, match=r"a\.tif: a compressed TIFF with an alpha plane"):
        read_planes(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("bits", "colour", "words"),
    [(16, 2, "16-bit colour PNG"), (16, 6, "16-bit colour PNG"), (4, 0, "4 bits a pixel")],
)
def test_png_encodings_that_would_change_are_refused(bits, colour, words, tmp_path):
    (tmp_path / "a.png").write_bytes(png_header(bits, colour))
    with pytest.raises(BenchError, match=words):
        read_planes(tmp_path / "a.png")


def test_a_bilevel_picture_is_zeros_and_ones(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert read_plane(tmp_path / "a.png").tolist() == [[0, 1]]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_what_is_no_picture_is_named(name, tmp_path):
    with pytest.raises(BenchError, match=rf"{name}: no such file"):
        read_planes(tmp_path / name)
    (tmp_path / name).write_bytes(b"not a picture")
    with pytest.raises(BenchError, match=rf"{name}: not a readable picture"):
        read_planes(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BenchError, match=rf"{name}: not a readable picture"):
        read_planes(tmp_path / name)


def test_a_plane_of_a_picture_with_others_is_refused(tmp_path):
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(BenchError, match=r"a\.png: has 3 planes, expected 1"):
        read_plane(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK"])
def test_a_photograph_of_any_mode_becomes_rgb(mode, tmp_path):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode).save(tmp_path / f"a{suffix}")
    image = read_rgb(tmp_path / f"a{suffix}", "a")
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), 255)


def test_a_palette_photograph_with_a_transparent_colour_raises_no_warning(tmp_path):
    image = Image.new("P", (7, 5), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.save(tmp_path / "a.png", transparency=b"\x00\xff")
    assert np.asarray(read_rgb(tmp_path / "a.png", "a"))[0, 0].tolist() == [9, 8, 7]


def test_a_deep_photograph_is_refused(tmp_path):
    Image.fromarray(np.zeros((5, 7), np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(BenchError, match="a photograph of mode I;16"):
        read_rgb(tmp_path / "a.png", "a")
