"""HuBERT (Hsu et al., arXiv 2106.07447) as a frontend."""

from motion_lab.components.frontends._speech_model import SpeechModel


class Hubert(SpeechModel):  # documented there
    model_class = "HubertModel"
