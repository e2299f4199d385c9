"""What the registry raises."""


class RegistryError(ValueError):
    """A component is unknown, registered twice, cannot be imported, or was asked for wrongly."""
