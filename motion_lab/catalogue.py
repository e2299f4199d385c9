"""The components that come with Motion Lab, by name.

Light on purpose: reading this module imports no component and no torch. One line a component,
under its kind::

    declare("encoders", "conv_volume", "motion_lab.components.encoders.conv_volume:ConvVolume",
            summary="one line for listings", paper="arXiv …")
"""

from registry import declare  # noqa: F401

# encoders

# depth

# motion_encoders

# motion_decoders

# renderers

# frontends

# extractors

# backbones

# perceptual

# datasets

# metrics
