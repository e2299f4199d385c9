"""A checkpoint that nobody has trained."""

import pytest
import torch

from motion_lab.configs.loading import as_dict, load_config
from motion_lab.models.base_model import BaseModel
from motion_lab.models.motion_model import MotionModel
from motion_lab.models.weights import BASE_FILE, MOTION_FILE, motion_fingerprint, save_weights


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """A folder with both stages of the preset `tiny`, as they begin."""
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    base, motion = load_config("base", "tiny"), load_config("motion", "tiny")
    save_weights(folder / BASE_FILE, BaseModel(**base.model), as_dict(base))
    features = motion_fingerprint(folder)
    weights = MotionModel(**motion.model)
    save_weights(folder / MOTION_FILE, weights, as_dict(motion), motion_features=features)
    return folder
