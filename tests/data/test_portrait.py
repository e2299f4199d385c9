"""Portraits: a picture is read or refused, and its face lies where the models expect it."""

import functools

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image as Pillow
from PIL import ImageCms

from motion_lab.data.portrait import (
    EYE_DISTANCE,
    EYES,
    Framing,
    crop_portrait,
    find_face,
    frame_face,
    frame_whole,
    load_image,
    paste_back,
)
from motion_lab.errors import UsageError

# Read off the picture by eye: the pupils of the astronaut.
PUPILS = np.array([[202.5, 100.0], [246.5, 103.0]])


@functools.cache
def astronaut():
    return skimage.data.astronaut()


def turned(degrees):
    matrix = cv2.getRotationMatrix2D((225, 150), -degrees, 1.0)  # clockwise
    picture = cv2.warpAffine(astronaut(), matrix, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    return picture, (matrix @ np.column_stack([PUPILS, [1, 1]]).T).T


def pupils_in_crop(framing, pupils):
    return (framing.matrix(1) @ np.column_stack([pupils, [1, 1]]).T).T


class TestReading:
    def test_a_photograph_comes_as_it_is(self, tmp_path):
        Pillow.fromarray(astronaut()).save(tmp_path / "a.png")
        assert np.array_equal(load_image(tmp_path / "a.png"), astronaut())

    @pytest.mark.parametrize("mark", range(1, 9))
    def test_orientation_marks_are_obeyed(self, tmp_path, mark):
        # What each mark asks of a viewer, from the EXIF standard.
        undo = {
            1: lambda x: x,
            2: lambda x: x[:, ::-1],
            3: lambda x: x[::-1, ::-1],
            4: lambda x: x[::-1],
            5: lambda x: x.transpose(1, 0, 2),
            6: lambda x: np.rot90(x, 1),
            7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
            8: lambda x: np.rot90(x, -1),
        }[mark]
        upright = astronaut()[:300, 100:300]
        exif = Pillow.Exif()
        exif[0x0112] = mark
        stored = Pillow.fromarray(np.ascontiguousarray(undo(upright)))
        stored.save(tmp_path / "a.png", exif=exif)
        assert np.array_equal(load_image(tmp_path / "a.png"), upright)

    def test_transparency_is_laid_on_white(self, tmp_path):
        rgba = np.dstack([astronaut(), np.full((512, 512), 255, np.uint8)])
        rgba[:100, :, 3] = 0
        Pillow.fromarray(rgba).save(tmp_path / "a.png")
        read = load_image(tmp_path / "a.png")
        assert (read[:100] == 255).all()
        assert np.array_equal(read[100:], astronaut()[100:])

    @pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "CMYK", "I;16"])
    def test_every_mode_becomes_rgb(self, tmp_path, mode):
        grey = Pillow.fromarray(astronaut()).convert("L")
        if mode == "I;16":
            picture = Pillow.fromarray(np.asarray(grey).astype(np.uint16) * 257)
        elif mode == "CMYK":
            picture = Pillow.fromarray(astronaut()).convert("CMYK")
        else:
            picture = grey.convert(mode)
        picture.save(path := tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
        read = load_image(path)
        assert read.shape == (512, 512, 3)
        assert read.dtype == np.uint8
        truth = astronaut() if mode == "CMYK" else np.asarray(grey)[..., None]
        if mode != "1":
            assert np.abs(read.astype(float) - truth).mean() < 3

    def test_colour_profiles_are_applied(self, tmp_path):
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for name, profile in (("plain", srgb), ("broken", b"no profile at all")):
            Pillow.fromarray(astronaut()).save(tmp_path / f"{name}.png", icc_profile=profile)
            read = load_image(tmp_path / f"{name}.png").astype(int)
            assert np.abs(read - astronaut()).max() <= 1

    @pytest.mark.parametrize(
        ("name", "content", "says"),
        [
            ("empty.png", b"", "empty"),
            ("text.png", b"This is not a picture.\n" * 20, "not a picture"),
            ("noise.jpg", bytes(range(256)) * 8, "not a picture"),
        ],
    )
    def test_what_is_no_picture_is_refused(self, tmp_path, name, content, says):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=says):
            load_image(tmp_path / name)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    def test_a_cut_off_picture_is_refused(self, tmp_path, suffix):
        path = tmp_path / f"a.{suffix}"
        Pillow.fromarray(astronaut()).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        with pytest.raises(UsageError, match=r"damaged|not a picture"):
            load_image(path)

    @pytest.mark.parametrize(
        ("width", "height", "says"),
        [(20000, 10, "too small"), (8, 8, "too small"), (2000, 100, "strip"), (1, 1, "too small")],
    )
    def test_a_picture_with_no_room_for_a_face_is_refused(self, tmp_path, width, height, says):
        Pillow.new("RGB", (width, height)).save(tmp_path / "a.png")
        with pytest.raises(UsageError, match=f"{width}x{height}.*{says}"):
            load_image(tmp_path / "a.png")

    def test_a_missing_file_and_a_folder_are_refused(self, tmp_path):
        with pytest.raises(UsageError, match="no such file"):
            load_image(tmp_path / "a.png")
        with pytest.raises(UsageError, match="folder"):
            load_image(tmp_path)


class TestFinding:
    @pytest.mark.parametrize("mirrored", [False, True])
    def test_the_eyes_lie_where_the_models_expect_them(self, mirrored):
        picture, pupils = astronaut(), PUPILS
        if mirrored:
            picture = picture[:, ::-1].copy()
            pupils = np.column_stack([512 - pupils[:, 0], pupils[:, 1]])[::-1]
        left, right = pupils_in_crop(frame_face(find_face(picture)), pupils)
        assert np.allclose((left + right) / 2, EYES, atol=0.015)
        assert np.hypot(*(right - left)) == pytest.approx(EYE_DISTANCE, abs=0.015)

    @pytest.mark.parametrize("size", [160, 1500])
    def test_resolution_does_not_matter(self, size):
        picture = cv2.resize(astronaut(), (size, size), interpolation=cv2.INTER_AREA)
        left, right = pupils_in_crop(frame_face(find_face(picture)), PUPILS * size / 512)
        assert np.allclose((left + right) / 2, EYES, atol=0.025)

    @pytest.mark.parametrize("degrees", [15, -25, 40])
    def test_a_tilted_head_is_set_upright(self, degrees):
        picture, pupils = turned(degrees)
        left, right = pupils_in_crop(frame_face(find_face(picture)), pupils)
        assert np.allclose((left + right) / 2, EYES, atol=0.03)
        assert abs(np.degrees(np.arctan2(*(right - left)[::-1]))) < 6

    def test_of_several_faces_the_largest_is_taken(self):
        small = cv2.resize(astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
        picture = np.full((512, 1024, 3), 128, np.uint8)
        picture[:, :512] = astronaut()
        picture[200:456, 640:896] = small
        face = find_face(picture)
        assert face.faces == 2
        assert face.eyes == pytest.approx(PUPILS.mean(0), abs=4)

    @pytest.mark.parametrize("name", ["coffee", "coins", "chelsea", "rocket"])
    def test_where_no_person_is_no_face_is_found(self, name):
        picture = getattr(skimage.data, name)()
        if picture.ndim == 2:
            picture = np.repeat(picture[..., None], 3, 2)
        with pytest.raises(UsageError, match=r"No face was found in holiday\.jpg"):
            find_face(picture, "holiday.jpg")

    def test_a_face_from_the_side_is_known_as_such(self):
        camera = np.repeat(skimage.data.camera()[..., None], 3, 2)
        assert find_face(camera).profile
        assert not find_face(astronaut()).profile

    def test_a_stick_drawing_is_refused_with_a_way_out(self):
        drawing = np.full((400, 400, 3), 255, np.uint8)
        cv2.ellipse(drawing, (200, 200), (110, 150), 0, 0, 360, (0, 0, 0), 3)
        for x in (155, 245):
            cv2.circle(drawing, (x, 170), 14, (0, 0, 0), 3)
        cv2.ellipse(drawing, (200, 270), (50, 20), 0, 0, 180, (0, 0, 0), 3)
        with pytest.raises(UsageError, match="--no-crop"):
            find_face(drawing)

    def test_a_face_of_a_few_pixels_is_refused(self):
        picture = cv2.resize(astronaut(), (150, 150), interpolation=cv2.INTER_AREA)
        with pytest.raises(UsageError, match="pixels wide"):
            find_face(picture)


class TestCropping:
    def test_the_crop_shows_the_face(self):
        crop, framing = crop_portrait(astronaut(), 256)
        assert crop.shape == (256, 256, 3)
        # The same region by a general-purpose resampler.
        left, top = (np.array(framing.centre) - framing.side / 2).tolist()
        box = (left, top, left + framing.side, top + framing.side)
        other = Pillow.fromarray(astronaut()).resize((256, 256), Pillow.Resampling.BICUBIC, box)
        assert np.abs(crop.astype(float) - np.asarray(other)).mean() < 2

    def test_reducing_averages_instead_of_skipping_pixels(self):
        stripes = np.zeros((1024, 1024, 3), np.uint8)
        stripes[:, ::2] = 200
        crop, _ = crop_portrait(stripes, 64, Framing((512, 512), 1024))
        assert np.abs(crop.astype(int) - 100).max() <= 2

    def test_beyond_the_picture_its_border_continues(self):
        crop, _ = crop_portrait(astronaut(), 64, Framing((0, 256), 256))
        assert (crop[:, :30] == crop[:, :1]).all()

    def test_a_picture_framed_already_is_used_whole(self):
        wide = np.zeros((100, 300, 3), np.uint8)
        wide[:, 100:200] = 255
        crop, _ = crop_portrait(wide, 100, frame_whole(wide))
        assert (crop == 255).all()


class TestPastingBack:
    @pytest.mark.parametrize("framing", [Framing((225, 125), 230), Framing((225, 125), 230, 20)])
    def test_an_unchanged_crop_leaves_the_picture_as_it_was(self, framing):
        crop, _ = crop_portrait(astronaut(), 512, framing)
        result = paste_back(crop, astronaut(), framing)
        assert np.abs(result.astype(int) - astronaut()).mean() < 1
        assert np.array_equal(result[300:], astronaut()[300:])

    def test_a_changed_crop_shows_in_its_middle_and_fades_to_its_edge(self):
        framing = Framing((225, 125), 200)
        result = paste_back(np.zeros((128, 128, 3), np.uint8), astronaut(), framing)
        assert (result[100:150, 200:250] == 0).all()
        assert np.array_equal(result[:, :124], astronaut()[:, :124])
        assert np.abs(result[:, 126].astype(int) - astronaut()[:, 126]).max() < 8

    def test_a_crop_beyond_the_picture_is_cut(self):
        framing = Framing((0, 0), 100)
        result = paste_back(np.zeros((64, 64, 3), np.uint8), astronaut(), framing)
        assert (result[:30, :30] == 0).all()
        assert np.array_equal(result[60:], astronaut()[60:])
        outside = paste_back(np.zeros((64, 64, 3), np.uint8), astronaut(), Framing((-99, 0), 50))
        assert np.array_equal(outside, astronaut())
