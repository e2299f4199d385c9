"""The plugin's catalogue. It stays light: the component is imported when it is first used."""

from registry import declare

declare(
    "extractors",
    "pulse",
    "motion_lab_pulse.extractor:Pulse",
    summary="dilated convolutions over a few frames on either side",
)
