"""Arms that go with speech: strokes end on stressed vowels, and hands rest in silence."""

import numpy as np
import pytest

from motion_lab.data.synthetic.bodies import sample_body
from motion_lab.data.synthetic.gestures import gesturing_motion
from motion_lab.data.synthetic.parameters import ARM_LIMITS, BODY_REGIONS
from motion_lab.data.synthetic.renderer import BODY_LANDMARK_NAMES, render
from motion_lab.data.synthetic.speech import SILENCE, Speech, speak
from motion_lab.data.synthetic.visemes import talking_motion

TEXT = "We never really wanted any of that, and tomorrow we are going to say it again, louder."
HANDS = [BODY_LANDMARK_NAMES.index(f"hand_{side}") for side in ("left", "right")]


@pytest.fixture(scope="module")
def speech() -> Speech:
    return speak(TEXT)


def perform(speech: Speech, seed: int):
    rng = np.random.default_rng(seed)
    identity = sample_body(rng)
    return identity, gesturing_motion(speech, rng)


def hands(identity, motion: np.ndarray) -> np.ndarray:
    """Where the hands are in the picture, (F, 2, 2); the head is held still."""
    still = motion.copy()
    still[:, :16] = 0
    return render(identity, still, 32, channels=("landmarks",)).landmarks[:, HANDS]


def speed_at(speech: Speech, seeds: range, offset: float) -> float:
    """Mean speed of the faster hand, so many seconds from the middles of stressed vowels."""
    moments = [(a + b) / 2 for a, b, symbol in speech.phonemes if symbol.startswith("ˈ")]
    found = []
    for seed in seeds:
        places = hands(*perform(speech, seed))
        speed = np.linalg.norm(np.diff(places, axis=0), axis=-1).max(1)
        clock = (np.arange(len(speed)) + 1.0) / 25
        found += list(np.interp(np.array(moments) + offset, clock, speed))
    return float(np.mean(found))


def test_hands_are_fast_before_a_stressed_vowel_and_pause_on_it(speech):
    people = range(12)
    on, before = speed_at(speech, people, 0.0), speed_at(speech, people, -0.1)
    assert before > 1.5 * on


def test_the_head_of_a_gesturing_body_talks_as_a_head_alone_does(speech):
    motion = gesturing_motion(speech, np.random.default_rng(7))
    alone = talking_motion(speech, np.random.default_rng(7))
    assert np.array_equal(motion[:, :16], alone)


def test_who_says_nothing_rests(speech):
    quiet = Speech(np.zeros_like(speech.wave), ((0.0, len(speech.wave) / 16000, SILENCE),))
    for seed in range(6):
        assert np.ptp(hands(*perform(quiet, seed)), axis=0).max() < 0.04
        assert np.ptp(hands(*perform(speech, seed)), axis=0).max() > 0.05


def test_hands_are_back_at_rest_some_time_after_the_last_word(speech):
    tail = Speech(
        np.concatenate([speech.wave, np.zeros(48000, np.float32)]),
        (*speech.phonemes, (speech.phonemes[-1][1], speech.phonemes[-1][1] + 3, SILENCE)),
    )
    for seed in range(6):
        places = hands(*perform(tail, seed))
        assert np.abs(places[-1] - places[0]).max() < 0.04


def test_the_same_seed_gives_the_same_and_people_differ_in_how_far_they_go(speech):
    assert np.array_equal(perform(speech, 3)[1], perform(speech, 3)[1])
    reaches = [np.ptp(hands(*perform(speech, seed)), axis=0).max() for seed in range(12)]
    assert max(reaches) > 2 * min(reaches)


def test_most_people_are_right_handed(speech):
    """The person's right hand is to the viewer's left."""
    ways = [
        np.abs(np.diff(hands(*perform(speech, seed)), axis=0)).sum((0, 2)) for seed in range(24)
    ]
    assert np.mean([left > right for left, right in ways]) > 0.6


@pytest.mark.parametrize("seed", range(4))
def test_joints_keep_to_their_limits_and_move_smoothly(speech, seed):
    arms = perform(speech, seed)[1][:, 16:]
    assert np.all((arms > ARM_LIMITS[:, 0]) & (arms < ARM_LIMITS[:, 1]))
    assert np.abs(np.diff(arms, axis=0)).max() < 0.6  # 15 radians a second


def test_no_hand_goes_through_the_torso(speech):
    before = [BODY_REGIONS.index(name) for name in ("hands", "arms")]
    for seed in range(8):
        identity, motion = perform(speech, seed)
        frames = render(identity, motion[::6], 160, channels=("regions", "landmarks"))
        for side in HANDS:
            x, y = np.moveaxis(frames.landmarks[:, side] * 160, -1, 0).astype(int)
            inside = np.flatnonzero((x >= 0) & (x < 160) & (y >= 0) & (y < 160))
            seen = frames.regions[inside, y[inside], x[inside]]
            assert np.isin(seen, before).all(), seed
