"""Pictures are read as stored, or refused."""

import logging
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


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_bilevel_picture_is_zeros_and_ones_as_a_label_alone(name, tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / name)
    assert read_plane(tmp_path / name, indices=True).tolist() == [[0, 1]]
    with pytest.raises(BenchError, match=r"a\.(png|tif): a 1-bit picture, whose values are indices"):
        read_plane(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "how"), [("a.png", {}), ("a.tif", {}), ("a.tif", {"compression": "tiff_lzw"})]
)
def test_a_palette_picture_is_its_indices_as_a_label_alone(name, how, tmp_path):
    image = Image.fromarray(np.array([[0, 1, 1]], np.uint8))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.save(tmp_path / name, **how)
    assert read_plane(tmp_path / name, indices=True).tolist() == [[0, 1, 1]]
    with pytest.raises(
        BenchError, match=r"a palette picture, .*store it as grey or colour of 8 bits or more"
    ):
        read_planes(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "lzw.tif"])
def test_a_picture_that_asks_to_be_turned_is_refused(name, tmp_path):
    image = Image.fromarray(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    how = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    for orientation in (1, 6):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / name, exif=exif, **how)
        if orientation == 1:
            assert read_planes(tmp_path / name).shape == (5, 7, 3)
    with pytest.raises(
        BenchError, match=rf"{name}: an orientation \(6\) asks to turn the picture, .*store it upright"
    ):
        read_planes(tmp_path / name)


def test_a_tiff_of_several_pages_is_refused_and_overviews_are_passed_over(tmp_path):
    planes = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    for name, kind in (("pages.tif", 0), ("overviews.tif", 1)):
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            tiff.write(planes, photometric="rgb")
            tiff.write(planes[::2, ::2], photometric="rgb", subfiletype=kind)  # 1: a reduced picture
    np.testing.assert_array_equal(read_planes(tmp_path / "overviews.tif"), planes)
    with pytest.raises(BenchError, match=r"pages\.tif: a TIFF of 2 pages, of which one would be read"):
        read_planes(tmp_path / "pages.tif")


def raster(path, values: np.ndarray, no_data: str, **how) -> None:
    tifffile.imwrite(path, values, extratags=[(42113, 2, 0, no_data, True)], **how)


@pytest.mark.parametrize(
    ("dtype", "value", "text"),
    [
        ("float32", -9999, "-9999"),
        ("float32", np.finfo(np.float32).min, "-3.4028234663852886e+38"),
        ("uint16", 65535, "65535"),
        ("uint16", 0, " 0 "),
    ],
)
def test_no_data_values_that_the_file_declares_are_refused(dtype, value, text, tmp_path):
    values = np.arange(1, 36).reshape(5, 7).astype(dtype)
    raster(tmp_path / "a.tif", values, text)
    np.testing.assert_array_equal(read_plane(tmp_path / "a.tif"), values)  # declared, and in no pixel
    values[0, :3] = value
    raster(tmp_path / "a.tif", values, text)
    with pytest.raises(BenchError, match=r"a\.tif: 3 values are .*, which the file declares to be no data"):
        read_planes(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_plane(tmp_path / "a.tif", indices=True), values)


@pytest.mark.parametrize(
    ("dtype", "text"),
    [("uint8", "0"), ("uint16", "-9999"), ("uint16", "nan"), ("float32", "nan"), ("uint16", "none")],
)
def test_a_no_data_tag_that_no_measured_value_can_have_changes_nothing(dtype, text, tmp_path):
    values = np.zeros((5, 7), dtype)
    raster(tmp_path / "a.tif", values, text)
    np.testing.assert_array_equal(read_plane(tmp_path / "a.tif"), values)


def test_no_data_values_of_a_compressed_tiff_are_refused(tmp_path):
    values = np.full((5, 7), 3, np.uint16)
    values[1, 1] = 9
    info = {42113: "9"}
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo=info)
    with pytest.raises(BenchError, match=r"a\.tif: 1 values are 9, which the file declares to be no data"):
        read_planes(tmp_path / "a.tif")


def test_what_tifffile_says_by_the_way_does_not_reach_the_screen(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a program that sets up no logging
    logging.getLogger("tifffile").warning("an odd tag")
    assert capfd.readouterr() == ("", "")


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
