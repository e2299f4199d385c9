"""Published networks that metrics are named after, read from files that the user names.

========== =========================================== ==========================================
module     network                                     file
========== =========================================== ==========================================
inception  Inception of FID                            ``pt_inception-2015-12-05-6726825d.pth``
syncnet    SyncNet v2                                  ``syncnet_v2.model``
arcface    an iresnet, or any network from 112 pixels  a state dict, or TorchScript
lpips      AlexNet or VGG-16, and their heads          torchvision's; heads lie in torchmetrics
========== =========================================== ==========================================

The I3D of FVD (``i3d_torchscript.pt``) and face alignment (``2DFAN4-….zip``) are TorchScript and
need no code here. Nothing is ever downloaded; :mod:`motion_lab.foreign_weights` reads all files.
"""
