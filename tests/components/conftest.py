"""Files that some components need, as small as can be."""

import pytest
import torch


@pytest.fixture(scope="session")
def speech_models(tmp_path_factory):
    """Folders of random models of speech, by the name of the frontend that reads them."""
    import transformers

    folders = {}
    for name in ("Wav2Vec2", "Hubert"):
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            conv_dim=(8,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
        )
        folders[name.lower()] = tmp_path_factory.mktemp(name)
        getattr(transformers, f"{name}Model")(config).save_pretrained(folders[name.lower()])
    return folders
