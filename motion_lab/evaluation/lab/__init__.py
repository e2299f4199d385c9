"""Small networks trained on synthetic heads, for measuring where no published one is named.

=========== ============================================== ==============================
network     gives                                          stands in for
=========== ============================================== ==============================
landmarks   32 points of the face, openings of mouth, lids a face-alignment network
sync        how well lips fit a voice                      SyncNet
features    feature maps to compare images in              Inception, VGG/AlexNet of LPIPS
face        who it is, (B, 128)                            ArcFace
video       how it moves, over 16 frames                   I3D
=========== ============================================== ==============================

Each module has a ``load()``; weights lie in ``checkpoints/lab``, with their model card. What is
measured with them carries ``[lab]`` in its name: it ranks, but compares with no published figure.
"""
