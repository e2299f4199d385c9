"""`motion-lab data preview` writes a sheet of heads and a video of one that speaks."""

import cv2
import numpy as np
import pytest

from motion_lab.data.synthetic.clips import talking_clip
from motion_lab.data.synthetic.parameters import BODY_MOTION, MOTION
from motion_lab.data.synthetic.preview import write_preview
from motion_lab.data.synthetic.worlds import BODIES
from motion_lab.data.video import read_video
from motion_lab.errors import UsageError


def test_a_clip_moves_its_mouth_for_as_long_as_it_speaks():
    clip = talking_clip(np.random.default_rng(4), "Hello there.")
    assert len(clip.motion) == -(-len(clip.wave) // 640)
    assert clip.motion[:, MOTION.index("jaw")].max() > 0.1
    frames = list(clip.frames(32))
    assert len(frames) == len(clip.motion)
    assert frames[0].shape == (32, 32, 3)
    assert any(not np.array_equal(frames[0], frame) for frame in frames)


def test_the_preview_is_a_picture_and_a_video_with_sound(tmp_path):
    made = write_preview(tmp_path / "new", seed=1, identities=2, size=64)
    sheet = cv2.imread(str(made.sheet))
    assert sheet.shape[1] > 3 * sheet.shape[0]
    video = read_video(made.video)
    assert sum(1 for _ in video.frames) > 20
    assert np.abs(video.audio).max() > 0.05
    assert sorted(path.name for path in made.sheet.parent.iterdir()) == ["heads.png", "talking.mp4"]


def test_the_preview_of_bodies_shows_bodies(tmp_path):
    made = write_preview(tmp_path, seed=1, identities=1, size=64, world=BODIES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bodies.png", "talking_bodies.mp4"]
    assert cv2.imread(str(made.sheet)) is not None
    clip = talking_clip(np.random.default_rng(1), "Hello there.", world=BODIES)
    assert clip.motion.shape[1] == len(BODY_MOTION)
    assert next(clip.frames(32)).shape == (32, 32, 3)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be made"):
        write_preview(tmp_path / "file" / "folder")
