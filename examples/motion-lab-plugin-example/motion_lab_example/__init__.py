"""The plugin's catalogue. It stays light: a component is imported when it is first used."""

from registry import declare

declare(
    "extractors",
    "pulse",
    "motion_lab_example.extractor:Pulse",
    summary="dilated convolutions over a few frames on either side",
)
declare(
    "backbones",
    "gated_conv",
    "motion_lab_example.backbone:GatedConv",
    summary="gated convolutions over time, steered by the diffusion step and the source",
)
