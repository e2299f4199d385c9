"""Stage 2: a recording becomes motion, by diffusion over windows of MD frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import registry
from motion_lab.data.synthetic.parameters import MOTION, STEADINESS
from motion_lab.models.contracts import Spec, expect

FRAME = 640  # samples of 16 kHz audio to a frame of 25 fps video
SAMPLERS = {"ddim": "DDIMScheduler", "dpm_solver++": "DPMSolverMultistepScheduler"}
# Share of the mean variance added to every direction's when whitening: directions quieter than
# this are taken for noise of the motion encoder and not blown up to unit variance.
WHITENING_FLOOR = 0.02


class MotionModel(nn.Module):
    """Frontend, extractors (Mamba-g, Mamba-l) and denoiser, each by name.

    Motion is deviations of MD from the source portrait's, M numbers a frame. Inside the model they
    are whitened by statistics of the training data (`fit_normalisation`), so that a quiet direction
    such as the jaw's weighs as much as the head's turning. The extractors' contexts are
    concatenated: leaving one out is an ablation. Diffusion has the cosine schedule of Nichol &
    Dhariwal (arXiv 2102.09672) and predicts clean motion (x0); sampling follows `sampler`, a
    scheduler of diffusers ("ddim", "dpm_solver++", or a mapping of `name` and its settings).

    `audio_drop` and `past_drop` are the shares of training windows that see a learned placeholder
    instead of their audio or past, which guidance (Ho & Salimans, arXiv 2207.12598) needs. In use
    past frames are the model's own: in training they are noised by up to `past_noise` standard
    deviations, and in a share `own_past` of the windows predicted by the model itself, so that it
    learns to come back from its errors.
    """

    def __init__(
        self,
        motion_size: int = 64,
        frontend: Spec = "log_mel",
        extractors: Sequence[Spec] = ("mamba_g", "mamba_l"),
        backbone: Spec = "transformer",
        window: int = 50,
        previous: int = 4,
        diffusion_steps: int = 1000,
        sampler: Spec = "dpm_solver++",
        guidance: float = 1.5,
        past_guidance: float = 1.0,
        steps: int = 10,
        audio_drop: float = 0.1,
        past_drop: float = 0.2,
        past_noise: float = 0.2,
        own_past: float = 0.0,
    ) -> None:
        super().__init__()
        if not extractors:
            raise ValueError("extractors must name at least one, or no audio reaches the motion")
        if not 0 < previous <= window:
            raise ValueError(
                f"previous must be between 1 and window ({window}), since a window starts from the "
                f"last frames of the one before; got {previous}"
            )
        self.motion_size, self.window, self.previous = motion_size, window, previous
        self.guidance, self.past_guidance, self.steps = guidance, past_guidance, steps
        self.audio_drop, self.past_drop = audio_drop, past_drop
        self.past_noise, self.own_past = past_noise, own_past
        self.scheduler = build_sampler(sampler, diffusion_steps)
        self.frontend: Any = registry.FRONTENDS.build(frontend)
        built = [
            registry.EXTRACTORS.build(spec, features=self.frontend.features) for spec in extractors
        ]
        self.extractors = nn.ModuleList(built)
        self._specs = (frontend, backbone, tuple(extractors))
        self._contexts = [extractor.context for extractor in built]
        context = sum(self._contexts)
        self.backbone = registry.BACKBONES.build(
            backbone,
            motion_size=motion_size,
            context=context,
            source_size=motion_size,
            previous=previous,
            window=window,
        )
        self.null_audio = nn.Parameter(torch.zeros(context))
        self.null_past = nn.Parameter(torch.zeros(previous, motion_size))
        self.mean: Tensor
        self.whitening: Tensor
        self.colouring: Tensor
        self.source_mean: Tensor
        self.source_scale: Tensor
        self.alphas: Tensor
        self.readout: Tensor
        self.directions: Tensor
        self.register_buffer("readout", torch.zeros(motion_size, len(MOTION)))
        self.register_buffer("directions", torch.zeros(len(MOTION), motion_size))
        self.register_buffer("mean", torch.zeros(motion_size))
        self.register_buffer("whitening", torch.eye(motion_size))
        self.register_buffer("colouring", torch.eye(motion_size))
        self.register_buffer("source_mean", torch.zeros(motion_size))
        self.register_buffer("source_scale", torch.ones(motion_size))
        self.register_buffer("alphas", self.scheduler.alphas_cumprod.clone(), persistent=False)

    @torch.no_grad()
    def fit_normalisation(self, deviations: Tensor, sources: Tensor) -> None:
        """Take the statistics of deviations (F, M) and of sources' MD (K, M) as the model's own."""
        values, vectors = torch.linalg.eigh(deviations.double().T.cov())
        values = values.clamp(min=0)
        if not values.max() > 0:
            raise ValueError(
                "the deviations do not vary, so there is no motion to learn: either all clips are "
                "still, or the base model's motion encoder ignores its input"
            )
        scale = (values + WHITENING_FLOOR * values.mean()).sqrt()
        self.mean.copy_(deviations.double().mean(0))
        self.whitening.copy_(vectors / scale)
        self.colouring.copy_((vectors * scale).T)
        self.source_mean.copy_(sources.mean(0))
        # One scale for all directions: those in which people hardly differ are to stay small.
        self.source_scale.fill_(sources.std(0).square().mean().sqrt().clamp(min=1e-6))

    @torch.no_grad()
    def fit_readout(self, deviations: Tensor, parameters: Tensor) -> None:
        """Learn what deviations (F, M) mean: the head's parameters (F, 16), in the order of MOTION.

        ``readout`` (M, 16) reads parameters off deviations, ``directions`` (16, M) is the way back;
        both by ridge regression through zero, where the head is as in the portrait. Controls of
        head, expression and blinks are made of them.
        """
        self.readout.copy_(ridge(deviations, parameters))
        self.directions.copy_(ridge(parameters, deviations))

    def normalise(self, deviation: Tensor) -> Tensor:
        """Deviations (…, M) in MD's units → whitened."""
        return (deviation - self.mean) @ self.whitening

    def restore(self, motion: Tensor) -> Tensor:
        """Whitened motion (…, M) → deviations in MD's units."""
        return motion @ self.colouring + self.mean

    def steady(self, deviations: Tensor) -> Tensor:
        """Deviations (B, F + 2, M) → (B, F, M), without the tremble of what cannot tremble.

        A head has weight; but an encoder of single frames sees it shake, and a denoiser learns
        that. Each frame's parameters, as far as they are known (`fit_readout`), are averaged with
        those of the frames next to it, as `STEADINESS` says.
        """
        slow = [MOTION.index(name) for name in STEADINESS]
        # A quarter of either neighbour, as of a head, leaves 97 % of the power at 1 Hz, 28 % at
        # 6 Hz; a sixteenth, as of a jaw, leaves 93 % at 3 Hz and 68 % at 8 Hz.
        share = deviations.new_tensor(list(STEADINESS.values()))
        bend = (deviations @ self.readout[:, slow]).diff(n=2, dim=1)
        return deviations[:, 1:-1] + (share * bend) @ self.directions[slow]

    def listen(self, wave: Tensor) -> Tensor:
        """Waves (B, T) → context (B, ceil(T / 640), E)."""
        frontend, _, extractors = self._specs
        track = (len(wave), -(-wave.shape[1] // FRAME))
        features = self.frontend(wave)
        expect("frontends", frontend, "features", features, (*track, self.frontend.features))
        contexts = [extractor(features) for extractor in self.extractors]
        for spec, width, context in zip(extractors, self._contexts, contexts, strict=True):
            expect("extractors", spec, "context", context, (*track, width))
        return torch.cat(contexts, dim=2)

    def training_loss(
        self, md: Tensor, wave: Tensor, start: Tensor, source: Tensor, past: Tensor
    ) -> dict[str, Tensor]:
        """Loss terms of denoising one window a track; their weights are the caller's.

        Args:
            md: deviations of the window, (B, W, M).
            wave: the whole track, (B, T).
            start: the window's first frame within the track, (B,) int64.
            source: MD of the portrait, (B, M).
            past: deviations of the frames before the window, (B, `history`, M).

        Returns:
            position: mean squared error of whitened motion.
            velocity: that of its differences from frame to frame, from the last past frame on.
            acceleration: that of the differences' differences.
        """
        batch, window = md.shape[:2]
        clean, history = self.normalise(md), self.normalise(past)
        before = history[:, -self.previous :]
        rows = torch.arange(batch, device=md.device)[:, None]
        frames = start[:, None] + torch.arange(window, device=md.device)
        heard = self.listen(wave)
        audio = heard[rows, frames]

        def chosen(share: float) -> Tensor:
            return torch.rand(batch, 1, 1, device=md.device) < share

        audio = torch.where(chosen(self.audio_drop), self.null_audio, audio)
        level = self.past_noise * torch.rand(batch, 1, 1, device=md.device)
        shown = before + level * torch.randn_like(before)
        if self.own_past:
            # Where the track reaches back so far.
            known = chosen(self.own_past) & (start >= self.window)[:, None, None]
            back = torch.arange(-self.window, 0, device=md.device)
            earlier = heard[rows, (start[:, None] + back).clamp(min=0)]
            shown = torch.where(known, self._own_past(history, earlier, source), shown)
        shown = torch.where(chosen(self.past_drop), self.null_past, shown)

        noisy, t = self._noised(clean)
        predicted = self._clean(noisy, t, audio, self._source(source), shown)
        terms = {"position": F.mse_loss(predicted, clean)}
        made, true = (torch.cat([before, motion], 1) for motion in (predicted, clean))
        for name, order in (("velocity", 1), ("acceleration", 2)):
            a, b = (motion[:, -window - order :].diff(order, 1) for motion in (made, true))
            terms[name] = F.mse_loss(a, b)
        return terms

    @property
    def history(self) -> int:
        """How many frames before a window training wants to know."""
        return self.previous + (self.window if self.own_past else 0)

    @torch.no_grad()
    def _own_past(self, history: Tensor, audio: Tensor, source: Tensor) -> Tensor:
        """The last frames of the window before, as the model itself would have predicted them."""
        past, clean = history.split((self.previous, self.window), dim=1)
        noisy, t = self._noised(clean)
        predicted = self._clean(noisy, t, audio, self._source(source), past)
        return predicted[:, -self.previous :]

    def _noised(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Clean motion (B, W, M) after a random number of diffusion steps (B,), and that number."""
        t = torch.randint(len(self.alphas), (len(clean),), device=clean.device)
        alpha = self.alphas[t][:, None, None]
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * torch.randn_like(clean), t

    @torch.no_grad()
    def generate(
        self,
        wave: Tensor,
        source_motion: Tensor,
        *,
        first: Tensor | None = None,
        steps: int | None = None,
        guidance: float | None = None,
        past_guidance: float | None = None,
        mean: bool = False,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Waves and portraits to motion, of any length.

        Windows follow one another, each starting from the last `previous` frames of the one
        before; the first starts from the portrait itself. What does not change over the steps is
        computed once.

        Args:
            wave: (B, T), 16 kHz, in [-1, 1].
            source_motion: MD of the portraits, (B, M).
            first: the deviations to start from, (B, M); the portraits themselves if left out.
            steps: denoising steps a window; None for the model's own number.
            guidance: scale of what the audio adds to the prediction; 1 for none, None for the
                model's own.
            past_guidance: scale of what the frames before a window add, likewise.
            mean: give the expected motion instead of a sample: one step, no randomness, calmer
                than a living head.
            generator: source of all randomness; the same state gives the same motion.
            progress: called with (steps done, steps in all).

        Returns:
            Deviations from the source's MD, (B, ceil(T / 640), M), 25 a second.
        """
        steps, scales = self.sampling(steps, guidance, past_guidance)
        if source_motion.shape != (len(wave), self.motion_size):
            raise ValueError(
                f"source_motion must be ({len(wave)}, {self.motion_size}) beside this wave, got "
                f"{tuple(source_motion.shape)}"
            )
        frames = -(-wave.shape[1] // FRAME)
        windows = -(-frames // self.window)
        # The last window is filled up with silence.
        audio = self.listen(F.pad(wave, (0, windows * self.window * FRAME - wave.shape[1])))
        source, past = self.begin(source_motion, first)
        if mean:
            steps = 0
        ticks = max(steps, 1)
        done: list[Tensor] = []
        for index, heard in enumerate(audio.split(self.window, dim=1)):

            def tick(step: int, index: int = index) -> None:
                if progress is not None:
                    progress(index * ticks + step, windows * ticks)

            motion = self.draw(heard, source, past, steps, scales, generator, tick)
            past = motion[:, -self.previous :]
            done.append(motion)
        drawn = self.restore(torch.cat(done, dim=1)[:, :frames])
        return self.steady(torch.cat([drawn[:, :1], drawn, drawn[:, -1:]], 1))

    def sampling(
        self, steps: int | None, guidance: float | None, past_guidance: float | None
    ) -> tuple[int, tuple[float, float]]:
        """Steps and guidance scales, the model's own where None is given."""
        steps = self.steps if steps is None else steps
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        return steps, (
            self.guidance if guidance is None else guidance,
            self.past_guidance if past_guidance is None else past_guidance,
        )

    def begin(self, source_motion: Tensor, first: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the first window is drawn with: the source as backbones take it, and the past."""
        start = torch.zeros_like(source_motion) if first is None else first
        past = self.normalise(start).unsqueeze(1).expand(-1, self.previous, -1)
        return self._source(source_motion), past

    def draw(
        self,
        audio: Tensor,
        source: Tensor,
        past: Tensor,
        steps: int,
        scales: tuple[float, float],
        generator: torch.Generator | None,
        tick: Callable[[int], None] = lambda step: None,
    ) -> Tensor:
        """Whitened motion (B, n, M) for context (B, n, E), in ``steps`` steps; 0 for the mean.

        ``source`` and ``past`` as `begin` gives them; ``past`` is then the last `previous` frames
        of what was drawn before.
        """
        shape = (*audio.shape[:2], self.motion_size)

        def predict(noisy: Tensor, t: Tensor) -> Tensor:
            return self._predict(noisy, t, audio, source, past, *scales)

        if not steps:
            last = torch.tensor(len(self.alphas) - 1, device=audio.device)
            motion = predict(audio.new_zeros(shape), last)
            tick(1)
            return motion
        device = audio.device if generator is None else generator.device
        noise = torch.randn(shape, generator=generator, device=device).to(audio)
        return self._denoise(noise, predict, steps, tick)

    def _denoise(
        self,
        motion: Tensor,
        predict: Callable[[Tensor, Tensor], Tensor],
        steps: int,
        tick: Callable[[int], None],
    ) -> Tensor:
        self.scheduler.set_timesteps(steps, device=motion.device)
        for step, t in enumerate(self.scheduler.timesteps, 1):
            motion = self.scheduler.step(predict(motion, t), t, motion).prev_sample
            tick(step)
        return motion

    def _predict(
        self,
        noisy: Tensor,
        t: Tensor,
        audio: Tensor,
        source: Tensor,
        past: Tensor,
        guidance: float,
        past_guidance: float,
    ) -> Tensor:
        """The denoiser's x0; with guidance, all branches in one batch.

        Two conditions with a scale each, as in Brooks, Holynski and Efros (arXiv 2211.09800): what
        the past adds to nothing, and what the audio adds to the past.
        """
        conditions = [(audio, past)]
        deaf = self.null_audio.expand_as(audio)
        if (guidance, past_guidance) != (1, 1):
            conditions.append((deaf, past))
        if past_guidance != 1:
            conditions.append((deaf, self.null_past.expand_as(past)))
        count = len(conditions)
        full, *less = self._clean(
            noisy.repeat(count, 1, 1),
            t.expand(count * len(noisy)),
            torch.cat([each for each, _ in conditions]),
            source.repeat(count, 1),
            torch.cat([each for _, each in conditions]),
        ).chunk(count)
        # What a condition adds is in the full prediction once already.
        scales = (guidance, past_guidance)
        for richer, poorer, scale in zip((full, *less), less, scales, strict=False):
            full = full + (scale - 1) * (richer - poorer)
        return full

    def _clean(self, noisy: Tensor, *conditions: Tensor) -> Tensor:
        predicted = self.backbone(noisy, *conditions)
        expect("backbones", self._specs[1], "motion", predicted, tuple(noisy.shape))
        return predicted

    def _source(self, source: Tensor) -> Tensor:
        return (source - self.source_mean) / self.source_scale


def ridge(x: Tensor, y: Tensor) -> Tensor:
    """The map (X, Y) that makes y (F, Y) of x (F, X), by ridge regression through zero.

    The penalty, a thousandth of the mean variance, keeps directions in which x hardly varies out
    of the answer.
    """
    x, y = x.double(), y.double()
    moments = x.T @ x / len(x)
    penalty = 1e-3 * moments.diagonal().mean() * torch.eye(len(moments), dtype=x.dtype)
    return torch.linalg.solve(moments + penalty, x.T @ y / len(x))


def build_sampler(spec: Spec, diffusion_steps: int) -> Any:
    """The diffusers scheduler that `spec` names, set to this model's cosine schedule and x0."""
    settings = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = settings.pop("name", None)
    if name not in SAMPLERS:
        raise ValueError(f"unknown sampler {name!r}; there are {', '.join(SAMPLERS)}")
    fixed: dict[str, Any] = {
        "num_train_timesteps": diffusion_steps,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "sample",
        "timestep_spacing": "trailing",  # starts at the last step, where all is noise
    }
    if name == "ddim":
        fixed["clip_sample"] = False  # whitened motion is not bounded by 1
    return getattr(diffusers, SAMPLERS[name])(**(fixed | settings))
