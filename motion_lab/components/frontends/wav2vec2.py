"""wav2vec 2.0 (Baevski et al., arXiv 2006.11477) as a frontend."""

from motion_lab.components.frontends._speech_model import SpeechModel


class Wav2Vec2(SpeechModel):  # documented there
    model_class = "Wav2Vec2Model"
