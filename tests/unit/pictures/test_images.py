"""What a site reads: every kind of image file, and what it says when one cannot be used."""

import numpy as np
import pytest
from PIL import Image, ImageCms
from torchvision.datasets.folder import IMG_EXTENSIONS

from genepool_client.pictures import images, walker
from genepool_client.pictures.decode import decode
from genepool_protocol.wire.errors import GenepoolError
from tests.support.images import write_classes, write_idx

RED, GREY = (200, 30, 30), 120


def lab_picture() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(Image.new("RGB", (20, 20), RED), *profiles, outputMode="LAB")


def transparent_palette() -> Image.Image:
    picture = Image.new("P", (20, 20), 0)
    picture.putpalette([0, 0, 0, *RED])
    picture.info["transparency"] = 0
    return picture


def of_depth(dtype, value) -> Image.Image:
    return Image.fromarray(np.full((20, 20), value, dtype=dtype))


WHITE = (255, 255, 255)
PICTURES = {
    "1.png": (Image.new("1", (20, 20), 1), WHITE),
    "L.png": (Image.new("L", (20, 20), GREY), (GREY,) * 3),
    "LA.png": (Image.new("LA", (20, 20), (0, 0)), WHITE),
    "P.png": (Image.new("RGB", (20, 20), RED).quantize(4), RED),
    "P.bmp": (Image.new("RGB", (20, 20), RED).quantize(4), RED),
    "P-transparent.png": (transparent_palette(), WHITE),
    "RGB.ppm": (Image.new("RGB", (20, 20), RED), RED),
    "RGB.webp": (Image.new("RGB", (20, 20), (GREY,) * 3), (GREY,) * 3),
    "RGBA.png": (Image.new("RGBA", (20, 20), (0, 0, 0, 0)), WHITE),
    "RGBA-half.png": (Image.new("RGBA", (20, 20), (0, 0, 0, 128)), (127, 127, 127)),
    "CMYK.jpg": (Image.new("CMYK", (20, 20), (0, 0, 0, 255 - GREY)), (GREY,) * 3),
    "CMYK.tif": (Image.new("CMYK", (20, 20), (0, 0, 0, 0)), WHITE),
    "YCbCr.jpg": (Image.new("YCbCr", (20, 20), (GREY, 128, 128)), (GREY,) * 3),
    "LAB.tif": (lab_picture(), RED),
    "sixteen.png": (of_depth(np.uint16, 65535), WHITE),
    "twelve-in-sixteen.png": (of_depth(np.uint16, 0xFFF), WHITE),
    "eight-in-sixteen.tif": (of_depth(np.uint16, GREY), (GREY,) * 3),
    "float.tif": (of_depth(np.float32, 1.0), WHITE),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_mode_becomes_rgb_bytes(tmp_path, name):
    picture, colour = PICTURES[name]
    picture.save(tmp_path / name)
    found = decode(tmp_path / name, 8)
    assert (found.shape, found.dtype) == ((8, 8, 3), np.uint8)
    assert np.abs(found.astype(int) - np.array(colour)).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1000, 3), (3, 1000), (7, 9), (4000, 3000)])
def test_odd_sizes_become_a_square(tmp_path, size):
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    assert np.abs(decode(tmp_path / "a.png", 16).astype(int) - np.array(RED)).max() <= 1


def test_the_centre_is_kept(tmp_path):
    picture = np.zeros((10, 30, 3), dtype=np.uint8)
    picture[:, 10:20] = 255
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", 10).min() == 255


def test_a_photo_that_was_taken_sideways_is_turned(tmp_path):
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = decode(tmp_path / "a.jpg", 32)
    assert found[:, :12].mean() < 20
    assert found[:, 20:].mean() > 235


def test_a_large_jpeg_is_decoded_small_and_right(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((2048, 2048), Image.Resampling.NEAREST).save(tmp_path / "a.jpg", quality=95)
    found = decode(tmp_path / "a.jpg", 32)
    assert np.abs(found[4::8, 4::8].astype(int) - coarse).max() < 12


def refused(call, *arguments) -> GenepoolError:
    with pytest.raises(GenepoolError) as caught:
        call(*arguments)
    return caught.value


@pytest.mark.parametrize("kind", ["truncated.png", "truncated.jpg", "text.png", "empty.jpg", "nan.tif"])
def test_a_damaged_image_is_named(tmp_path, kind):
    folder = write_classes(tmp_path / "data", {"a": 2, "b": 2}, np.random.default_rng(0))
    bad = folder / "b" / kind
    if kind.startswith("truncated"):
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(bad)
        bad.write_bytes(bad.read_bytes()[:-2000])
    elif kind == "nan.tif":
        of_depth(np.float32, np.nan).save(bad)
    else:
        bad.write_bytes(b"" if kind == "empty.jpg" else b"not an image")
    found = refused(images.load_images, folder, 8)
    assert found.reason == "IMAGE_UNREADABLE"
    assert str(bad) in found.message


def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (11, 10)).save(tmp_path / "large.png")
    Image.new("L", (100, 100)).save(tmp_path / "huge.png")
    for name in ("large.png", "huge.png"):
        assert refused(decode, tmp_path / name, 8).reason == "IMAGE_UNREADABLE"


def test_a_folder_is_read_as_torchvision_reads_it(tmp_path):
    assert walker.EXTENSIONS == IMG_EXTENSIONS
    folder = write_classes(tmp_path, {"zebra": 2, "Ähre": 3, "日本": 1, "ant": 2}, np.random.default_rng(0))
    (folder / "ant" / "deep" / "er").mkdir(parents=True)
    Image.new("RGB", (4, 4), RED).save(folder / "ant" / "deep" / "er" / "X.JPEG")
    for junk in (".DS_Store", "ant/.DS_Store", "ant/._000.png", "ant/notes.txt", "beside.png", "ant/Thumbs.db"):
        (folder / junk).write_bytes(b"junk")
    (folder / "__MACOSX").mkdir()
    (folder / ".ipynb_checkpoints").mkdir()
    found = images.load_images(folder, 8)
    assert found.classes == ["ant", "zebra", "Ähre", "日本"]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 3]
    assert found.pixels.shape == (9, 8, 8, 3)
    assert np.abs(found.pixels[2].astype(int) - RED).max() <= 3


def test_the_order_and_digest_depend_on_content_alone(tmp_path):
    one = write_classes(tmp_path / "one", {"a": 3, "b": 3}, np.random.default_rng(0))
    two = write_classes(tmp_path / "two", {"a": 3, "b": 3}, np.random.default_rng(0))
    first = images.load_images(one, 8)
    assert first.digest == images.load_images(str(two), 8).digest
    (two / "b").rename(two / "c")
    assert images.load_images(two, 8).digest != first.digest
    assert images.load_images(one, 10).digest != first.digest
    Image.new("RGB", (16, 16)).save(one / "b" / "000.png")
    assert images.load_images(one, 8).digest != first.digest


def test_a_training_split_is_found_inside_the_folder(tmp_path):
    write_classes(tmp_path / "train", {"a": 2, "b": 2}, np.random.default_rng(0))
    write_classes(tmp_path / "val", {"a": 1, "b": 1}, np.random.default_rng(1))
    found = images.load_images(tmp_path, 8)
    assert (found.classes, len(found.labels)) == (["a", "b"], 4)


def test_progress_counts_images(tmp_path):
    seen = []
    write_classes(tmp_path, {"a": 2, "b": 1}, np.random.default_rng(0))
    images.load_images(tmp_path, 8, progress=lambda *event: seen.append(event))
    assert seen == [(1, 3, "a"), (2, 3, "a"), (3, 3, "b")]


@pytest.mark.parametrize(
    ("counts", "reason"), [({}, "FOLDER_EMPTY"), ({"a": 3}, "ONE_CLASS_ONLY"), ({"a": 3, "b": 0}, "CLASS_EMPTY")]
)
@pytest.mark.parametrize("call", [images.check_source, lambda folder: images.load_images(folder, 8)])
def test_a_folder_that_cannot_be_trained_on_is_refused(tmp_path, counts, reason, call):
    write_classes(tmp_path, counts, np.random.default_rng(0))
    assert refused(call, tmp_path).reason == reason


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file"):
        assert refused(images.load_images, path, 8).reason == "PATH_MISSING"
        assert refused(images.load_unlabelled, path, 8).reason == "PATH_MISSING"


def test_a_flat_folder_has_no_classes_but_can_be_a_support_set(tmp_path):
    write_classes(tmp_path / "x", {"a": 3}, np.random.default_rng(0))
    found = refused(images.load_images, tmp_path / "x" / "a", 8)
    assert (found.reason, "class" in found.message) == ("FOLDER_EMPTY", True)
    assert images.load_unlabelled(tmp_path / "x" / "a", 8).shape == (3, 8, 8, 3)
    (tmp_path / "none").mkdir()
    assert refused(images.load_unlabelled, tmp_path / "none", 8).reason == "FOLDER_EMPTY"


def test_a_data_set_of_timm_is_read_by_name(tmp_path):
    rng = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 255, (6, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.array([7, 7, 1, 1, 7, 3]))
    found = images.load_images("torch/mnist", 12, root=tmp_path)
    assert found.pixels.shape == (6, 12, 12, 3)
    assert found.classes == ["1 - one", "3 - three", "7 - seven"]
    assert found.labels.tolist() == [2, 2, 0, 0, 2, 1]


@pytest.mark.parametrize("name", ["torch/mnist", "torch/no-such-thing", "hfds/no/such", "tfds/none"])
def test_a_data_set_that_is_not_here_is_refused_and_not_downloaded(tmp_path, name):
    assert refused(images.load_images, name, 8, tmp_path).reason == "DATASET_UNKNOWN"


def test_images_in_folders_of_one_name_are_one_group_of_whatever_class(tmp_path):
    for place in ("a/patient1", "a/patient2", "b/patient1"):
        (tmp_path / place).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (8, 8), (len(place), 40 * index, 7)).save(tmp_path / place / f"{index}.png")
    loaded = images.load_images(tmp_path, 8, groups=True)
    assert loaded.groups.tolist() == [0, 0, 1, 1, 0, 0]
