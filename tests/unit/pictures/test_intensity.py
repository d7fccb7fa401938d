"""Pixels deeper than a byte: ramps stay ramps, one range holds for a whole set, and what says nothing is asked."""

import numpy as np
import pytest
from PIL import Image

from genepool_client.pictures.decode import decode, to_rgb
from genepool_client.pictures.images import load_images, load_unlabelled
from genepool_client.pictures.intensity import Intensity, settled
from genepool_protocol.pictures import open_picture
from genepool_protocol.wire.errors import InvalidInput


def ramp(dtype, low, high, columns=4096):
    return np.tile(np.linspace(low, high, columns).astype(dtype), (4, 1))


def levels(image, span=None):
    row = np.asarray(to_rgb(image, span))[0, :, 0].astype(int)
    return row, len(np.unique(row))


DEEP = {
    "sixteen bits": (ramp(np.uint16, 0, 65535), None),
    "twelve bits in sixteen": (ramp(np.uint16, 0, 4095), None),
    "ten bits in sixteen": (ramp(np.uint16, 0, 1023), None),
    "unsigned in 32 bits": (ramp(np.int32, 0, 70_000), None),
    "floats to one": (ramp(np.float32, 0, 1), None),
    "Hounsfield units": (ramp(np.int32, -1024, 3071), Intensity(-1024, 3071)),
    "floats to 4095": (ramp(np.float32, 0, 4095), Intensity(0, 4095)),
    "floats to 65535": (ramp(np.float32, 0, 65535), Intensity(0, 65535)),
    "small signed floats": (ramp(np.float32, -0.5, 0.5), Intensity(-0.5, 0.5)),
}


SAVED = [(name, "tif") for name in DEEP if name != "unsigned in 32 bits"]  # a TIFF of 32 bits is signed
SAVED += [(name, "png") for name in DEEP if "bits" in name and "32" not in name]  # PNG holds 16 bits without a sign


def check_ramp(name, image):
    values, span = DEEP[name]
    row, count = levels(image, span)
    assert (np.diff(row) >= 0).all()
    assert count >= 129 if values.max() == 70_000 else count == 256  # 70,000 needs 17 bits
    assert row[0] == 0


@pytest.mark.parametrize("name", DEEP)
def test_a_ramp_of_deep_pixels_has_all_levels_in_their_order(name):
    check_ramp(name, Image.fromarray(DEEP[name][0]))


@pytest.mark.parametrize(("name", "suffix"), SAVED)
def test_so_it_has_from_a_file(tmp_path, name, suffix):
    Image.fromarray(DEEP[name][0]).save(tmp_path / f"ramp.{suffix}")
    with open_picture(tmp_path / f"ramp.{suffix}") as image:
        check_ramp(name, image)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_ramp_of_bytes_stays_one(mode):
    grey = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (4, 1)))
    row, count = levels(grey.convert(mode))
    steps = np.diff(row)
    assert (steps >= 0).all() or mode == "1"  # which is dithered
    assert count >= (2 if mode == "1" else 216)


def write(folder, name, values, index=0):
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(target / f"{index}.tif")
    return folder


def test_images_of_4095_and_4096_have_the_depth_of_their_set(tmp_path):
    for index, brightest in enumerate((4095, 4096)):
        values = ramp(np.uint16, 0, 2048, 8)
        values[0, 0] = brightest
        write(tmp_path, "a", values, index)
    write(tmp_path, "b", ramp(np.uint16, 0, 2048, 8))
    loaded = load_images(tmp_path, 4)
    assert loaded.intensity == Intensity(0, 8191)
    assert "0 is black and 8191 is white" in loaded.notes[0]
    first, second = loaded.pixels[:2]
    assert np.abs(first[-1].astype(int) - second[-1]).max() <= 1, "they were twice as bright as each other"


@pytest.mark.parametrize(
    ("values", "reach"),
    [
        (ramp(np.int32, -1024, 3071, 16), "from -1024 to 3071"),
        (ramp(np.float32, 0, 4095, 16), "from 0 to 4095"),
        (ramp(np.int16, 0, 3071, 16), "from 0 to 3071"),
    ],
    ids=["negative", "floats", "signed without a negative one"],
)
def test_what_says_nothing_of_itself_is_refused_with_what_was_found_given_or_measured(tmp_path, values, reach):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        signed = {"tiffinfo": {339: 2}} if values.dtype == np.int16 else {}
        Image.fromarray(values.astype(np.int32) if values.dtype == np.int16 else values).save(
            tmp_path / name / "0.tif", **signed
        )
    for read in (lambda **more: load_images(tmp_path, 4, **more), lambda **more: load_unlabelled(tmp_path, 4, **more)):
        with pytest.raises(InvalidInput) as caught:
            read()
        assert caught.value.reason == "INTENSITY_UNKNOWN"
        assert reach in caught.value.message
        read(intensity="-1024,3071")
    assert load_images(tmp_path, 4, intensity="-1024,3071").intensity == Intensity(-1024, 3071)
    measured = load_images(tmp_path, 4, intensity="measured").intensity
    assert reach == f"from {measured.low:g} to {measured.high:g}"


def test_a_range_that_changes_nothing_is_told(tmp_path):
    for name in ("a", "b"):
        write(tmp_path, name, np.zeros((4, 4), np.uint8))
    loaded = load_images(tmp_path, 4, intensity="0,10")
    assert loaded.intensity is None
    assert "changes nothing" in loaded.notes[0]


@pytest.mark.parametrize("text", ["", "1", "1,1", "2,1", "a,b", "nan,1", "0,1e10", "0,1e-12", "1,2,3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(InvalidInput) as caught:
        Intensity.parse(text)
    assert caught.value.reason == "OPTION_INVALID"


def test_a_range_can_be_written_down_and_read_again():
    for text in ("-1024,3071", "0,4294967295", "0.25,0.5"):
        assert str(Intensity.parse(text)) == text
    assert settled([], "measured", "") is None


def test_what_may_not_be_read_what_is_gone_and_what_is_damaged_are_told_apart(tmp_path):
    write(tmp_path, "a", np.zeros((4, 4), np.uint8))
    path, said = tmp_path / "a" / "0.tif", set()
    raw = path.read_bytes()
    (tmp_path / "a" / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    path.write_bytes(raw[:-10])
    for broken in (path, tmp_path / "a" / "gone.png", tmp_path / "a" / "eps.png"):
        with pytest.raises(InvalidInput) as caught:
            decode(broken, 4)
        said.add(caught.value.message.replace(str(broken), ""))
    assert len(said) == 3


def test_one_image_by_itself_is_read_by_the_same_rules(tmp_path):
    Image.fromarray(ramp(np.int32, 0, 3071, 16)).save(tmp_path / "signed.tif")
    with pytest.raises(InvalidInput) as caught:
        decode(tmp_path / "signed.tif", 4)
    assert caught.value.reason == "INTENSITY_UNKNOWN"
