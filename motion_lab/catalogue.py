"""The components that come with Motion Lab, by name.

Light on purpose: reading this module imports no component and no torch. One line a component,
under its kind::

    declare("encoders", "conv_volume", "motion_lab.components.encoders.conv_volume:ConvVolume",
            summary="one line for listings", paper="arXiv …")
"""

from registry import declare

# encoders
declare(
    "encoders",
    "conv_volume",
    "motion_lab.components.encoders.conv_volume:ConvVolumeEncoder",
    summary="convolutional pyramid read as channels × depth layers",
)

# depth
declare(
    "depth",
    "learned",
    "motion_lab.components.depth.learned:LearnedDepth",
    summary="layer probabilities at three scales, learned jointly",
)
declare(
    "depth",
    "none",
    "motion_lab.components.depth.none:NoDepth",
    summary="equal layers: the ablation without depth cues",
)

# motion_encoders
declare(
    "motion_encoders",
    "deviation",
    "motion_lab.components.motion_encoders.deviation:DeviationTransformer",
    summary="deviation image transformer over frame, eyes and mouth",
    paper="arXiv 2606.03402",
)
declare(
    "motion_encoders",
    "deviation_windows",
    "motion_lab.components.motion_encoders.deviation_windows:WindowedDeviation",
    summary="deviation image transformer that finds eyes and mouth and looks there closely",
    paper="arXiv 2606.03402",
)
declare(
    "motion_encoders",
    "linear",
    "motion_lab.components.motion_encoders.linear:LinearMotion",
    summary="coefficients along orthogonal directions (baseline, LIA type)",
    paper="arXiv 2203.09043",
)
declare(
    "motion_encoders",
    "keypoints",
    "motion_lab.components.motion_encoders.keypoints:KeypointMotion",
    summary="keypoints with local affine maps (baseline, FOMM type)",
    paper="arXiv 2003.00196",
)

# motion_decoders
declare(
    "motion_decoders",
    "lmdd",
    "motion_lab.components.motion_decoders.lmdd:LMDD",
    summary="coarse-to-fine displacement with region attention and masks",
    paper="arXiv 2606.03402",
)
declare(
    "motion_decoders",
    "first_order",
    "motion_lab.components.motion_decoders.first_order:FirstOrderDecoder",
    summary="affine motion around keypoints (baseline, FOMM type)",
    paper="arXiv 2003.00196",
)

# renderers
declare(
    "renderers",
    "mad",
    "motion_lab.components.renderers.mad:MADRenderer",
    summary="motion appearance decoder: warp first, generate what the mask asks for",
    paper="arXiv 2606.03402",
)

# details
declare(
    "details",
    "windows",
    "motion_lab.components.details.windows:DetailWindows",
    summary="mouth and eyes moved and painted through windows at the frame's own size",
)

# frontends
declare(
    "frontends",
    "log_mel",
    "motion_lab.components.frontends.log_mel:LogMel",
    summary="log-mel columns around each video frame, at the speech's own level",
)
declare(
    "frontends",
    "wav2vec2",
    "motion_lab.components.frontends.wav2vec2:Wav2Vec2",
    summary="wav2vec 2.0 from a folder of yours, through transformers",
    paper="arXiv 2006.11477",
)
declare(
    "frontends",
    "hubert",
    "motion_lab.components.frontends.hubert:Hubert",
    summary="HuBERT from a folder of yours, through transformers",
    paper="arXiv 2106.07447",
)

# extractors
declare(
    "extractors",
    "mamba_g",
    "motion_lab.components.extractors.mamba_g:MambaG",
    summary="Mamba in both directions over the whole track",
    paper="arXiv 2606.03402, 2312.00752",
)
declare(
    "extractors",
    "mamba_l",
    "motion_lab.components.extractors.mamba_l:MambaL",
    summary="Mamba over a window around each frame",
    paper="arXiv 2606.03402, 2312.00752",
)
declare(
    "extractors",
    "transformer",
    "motion_lab.components.extractors.transformer:TransformerExtractor",
    summary="attention over the whole track, rotary positions",
    paper="arXiv 1706.03762, 2104.09864",
)
declare(
    "extractors",
    "gru",
    "motion_lab.components.extractors.gru:GRUExtractor",
    summary="gated recurrence in both directions over the whole track",
    paper="arXiv 1406.1078",
)
declare(
    "extractors",
    "tcn",
    "motion_lab.components.extractors.tcn:TCNExtractor",
    summary="dilated convolutions over a window around each frame",
    paper="arXiv 1803.01271",
)
declare(
    "extractors",
    "none",
    "motion_lab.components.extractors.none:NoAudio",
    summary="a learned constant: the ablation without audio",
)

# backbones
declare(
    "backbones",
    "transformer",
    "motion_lab.components.backbones.transformer:TransformerDenoiser",
    summary="transformer with rotary positions and adaptive layer norm",
    paper="arXiv 2606.03402, 2212.09748",
)
declare(
    "backbones",
    "mamba",
    "motion_lab.components.backbones.mamba:MambaDenoiser",
    summary="Mamba in both directions, adaptive layer norm",
    paper="arXiv 2312.00752",
)
declare(
    "backbones",
    "mixer",
    "motion_lab.components.backbones.mixer:MixerDenoiser",
    summary="MLP-mixer over a window of fixed length, adaptive layer norm",
    paper="arXiv 2105.01601",
)
declare(
    "backbones",
    "unet",
    "motion_lab.components.backbones.unet:UNetDenoiser",
    summary="convolutions over time at several rates, skip connections",
    paper="arXiv 1505.04597",
)

# perceptual
declare(
    "perceptual",
    "vgg19",
    "motion_lab.components.perceptual.vgg:VGG19",
    summary="VGG-19 from a file of yours: torchvision's weights",
    paper="arXiv 1409.1556",
)
declare(
    "perceptual",
    "lab_features",
    "motion_lab.components.perceptual.lab_features:LabFeatures",
    summary="maps of a small network trained on synthetic heads, which ships",
)

# datasets
declare(
    "datasets",
    "talking_heads",
    "motion_lab.training.talking_heads:talking_heads",
    summary="stage 2: synthetic heads that speak, seen through a base model's motion encoder",
)
declare(
    "datasets",
    "talking_bodies",
    "motion_lab.training.talking_heads:talking_bodies",
    summary="stage 2: synthetic upper bodies that speak and gesture, seen in the same way",
)
declare(
    "datasets",
    "pats",
    "motion_lab.training.pats:pats",
    summary="stage 2: gestures and voices of PATS, performed by synthetic upper bodies",
    paper="Ahuja et al., Style transfer for co-speech gesture animation, ECCV 2020",
)

# metrics
declare(
    "metrics",
    "psnr",
    "motion_lab.evaluation.metrics.pixels:Psnr",
    summary="peak signal-to-noise ratio, dB",
)
declare(
    "metrics",
    "ssim",
    "motion_lab.evaluation.metrics.pixels:Ssim",
    summary="structural similarity",
    paper="Wang et al. 2004",
)
declare(
    "metrics",
    "l1",
    "motion_lab.evaluation.metrics.pixels:L1",
    summary="mean absolute error of the pixels",
)
declare(
    "metrics",
    "tgd",
    "motion_lab.evaluation.metrics.pixels:Tgd",
    summary="temporal gradient difference, as defined here",
)
declare(
    "metrics",
    "lpips",
    "motion_lab.evaluation.metrics.perceptual:Lpips",
    summary="perceptual distance, AlexNet or VGG from a file",
    paper="arXiv 1801.03924",
)
declare(
    "metrics",
    "lpips[lab]",
    "motion_lab.evaluation.metrics.perceptual:LpipsLab",
    summary="distance of feature maps, by the shipped network",
)
declare(
    "metrics",
    "fid",
    "motion_lab.evaluation.metrics.frechet:Fid",
    summary="Fréchet distance of frames, Inception from a file",
    paper="arXiv 1706.08500",
)
declare(
    "metrics",
    "fid[lab]",
    "motion_lab.evaluation.metrics.frechet:FidLab",
    summary="distance of distributions of frames, by the shipped network",
)
declare(
    "metrics",
    "fvd",
    "motion_lab.evaluation.metrics.frechet:Fvd",
    summary="Fréchet distance of videos, I3D from a file",
    paper="arXiv 1812.01717",
)
declare(
    "metrics",
    "fvd[lab]",
    "motion_lab.evaluation.metrics.frechet:FvdLab",
    summary="distance of distributions of motion, by the shipped network",
)
declare(
    "metrics",
    "lse",
    "motion_lab.evaluation.metrics.sync:Lse",
    summary="lip sync, LSE-D and LSE-C, SyncNet from a file",
    paper="arXiv 2008.10010",
)
declare(
    "metrics",
    "lse[lab]",
    "motion_lab.evaluation.metrics.sync:LseLab",
    summary="lip sync, by the shipped network",
)
declare(
    "metrics",
    "csim",
    "motion_lab.evaluation.metrics.identity:Csim",
    summary="likeness to the portrait, face recognition from a file",
)
declare(
    "metrics",
    "csim[lab]",
    "motion_lab.evaluation.metrics.identity:CsimLab",
    summary="likeness to the portrait, by the shipped network",
)
declare(
    "metrics",
    "akd",
    "motion_lab.evaluation.metrics.landmarks:Akd",
    summary="distance of the face's points, network from a file",
    paper="arXiv 1812.08861",
)
declare(
    "metrics",
    "akd[lab]",
    "motion_lab.evaluation.metrics.landmarks:AkdLab",
    summary="distance of the face's points, by the shipped network",
)
declare(
    "metrics",
    "fgd",
    "motion_lab.evaluation.metrics.gestures:Fgd",
    summary="Fréchet distance of motion, autoencoder from a file",
    paper="arXiv 2009.02119",
)
declare(
    "metrics",
    "fgd[lab]",
    "motion_lab.evaluation.metrics.gestures:FgdLab",
    summary="Fréchet distance of motion, by the shipped points",
)
declare(
    "metrics",
    "div",
    "motion_lab.evaluation.metrics.gestures:Div",
    summary="diversity of motion, networks from files",
    paper="arXiv 2203.13161",
)
declare(
    "metrics",
    "div[lab]",
    "motion_lab.evaluation.metrics.gestures:DivLab",
    summary="diversity of motion, by the shipped points",
)
declare(
    "metrics",
    "bas",
    "motion_lab.evaluation.metrics.gestures:Bas",
    summary="beats of motion and speech, points from a file",
    paper="arXiv 2203.13055",
)
declare(
    "metrics",
    "bas[lab]",
    "motion_lab.evaluation.metrics.gestures:BasLab",
    summary="beats of motion and speech, by the shipped points",
)
declare(
    "metrics",
    "fgd[flow]",
    "motion_lab.evaluation.metrics.flow_gestures:FgdFlow",
    summary="Fréchet distance of motion, by optical flow; for bodies",
)
declare(
    "metrics",
    "div[flow]",
    "motion_lab.evaluation.metrics.flow_gestures:DivFlow",
    summary="diversity of motion, by optical flow; for bodies",
)
declare(
    "metrics",
    "bas[flow]",
    "motion_lab.evaluation.metrics.flow_gestures:BasFlow",
    summary="beats of hands and speech, by optical flow; for bodies",
)
