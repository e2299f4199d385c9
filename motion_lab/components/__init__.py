"""Everything swappable: one folder a kind, one file a component.

A component is a ``torch.nn.Module`` (or a factory of one) whose constructor takes keyword
arguments with defaults. It is called as :mod:`motion_lab.components.protocols` states for its kind,
knows nothing of other kinds, and becomes available by a line in :mod:`motion_lab.catalogue`.
"""
