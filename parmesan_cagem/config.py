"""The experiment: every hyper-parameter once, with its unit, meaning, provenance and bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from parmesan_cagem import engines, options
from parmesan_cagem.errors import UserError
from parmesan_cagem.label_weights import resolve, shortest
from parmesan_cagem.options import option
from parmesan_cagem.presets import CLASSES, DATASETS, LAYERED, MODELS, PRESETS, WITH_Y

MAX_SEED = 2**32 - 1  # of NumPy's RandomState, which Lasagne draws its weights from
MOST_UNITS = 2**16  # of a layer
AUXILIARY = ("adgm", "sdgm", "avae")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One training run and its evaluation. Every field is also a flag of the run scripts."""

    dataset: str = option("mnist", "data set", choices=("mnist", "omniglot"))
    preset: str = option(
        "paper", "set of defaults that the other flags change", choices=("paper", "short", "demo", "smoke")
    )
    model: str = option(
        "cagem",
        "cagem; without labels vae, iwae (vae with --train-iw above 1), lvae (ladder), avae (auxiliary); with a class "
        "adgm (auxiliary), sdgm (its skip variant), m2",
        "paper Tables 1 to 3",
        choices=tuple(MODELS),
    )
    labels: int = option(
        100,
        "labelled images, evenly per class; 0 builds no labelled pass",
        "paper section 5",
        minimum=0,
        models=WITH_Y,
    )
    clusters: int = option(
        10,
        "K, values of y; must equal the classes when there are labels",
        "paper Table 1",
        minimum=2,
        maximum=400,  # K times the classes, twice, stand in a record: more than 50,000 numbers would be refused there
        models=WITH_Y,
    )
    seed: int = option(1, "seed of weights, noise, batches and binarisation", minimum=0, maximum=MAX_SEED)
    label_seed: int = option(1, "seed that chooses the labelled images", minimum=0, maximum=MAX_SEED)

    # model
    widths: str = option(
        "nodes",
        "hidden widths: nodes = wide-wide around z1 and x, narrow-narrow above; tapered = wide-narrow everywhere; "
        "doubled = wide, wide/2, wide/4 ... from x upwards, 1024-512-256-128-64; ladder = half of that, as LVAE's",
        "paper section 5, two readings; LVAE section 3",
        choices=("nodes", "tapered", "doubled", "ladder"),
    )
    layers: int = option(
        2,
        "L, layers of Gaussian variables: z1-dim, z2-dim, then half of the one below (5: 64-32-16-8-4)",
        "paper Table 1",
        minimum=1,
        maximum=10,
        models=LAYERED,
        later=True,
    )
    wide: int = option(1024, "units of the wide hidden layers", "paper section 5", minimum=1, maximum=MOST_UNITS)
    narrow: int = option(512, "units of the narrow hidden layers", "paper section 5", minimum=1, maximum=MOST_UNITS)
    z1_dim: int = option(64, "dimensions of z1", "paper section 5", minimum=1, maximum=MOST_UNITS)
    z2_dim: int = option(32, "dimensions of z2 (2 for Figure 3)", "paper section 5", minimum=1, maximum=MOST_UNITS)
    a_dim: int = option(
        64, "dimensions of each auxiliary variable", minimum=1, maximum=MOST_UNITS, models=AUXILIARY, later=True
    )
    skip: bool = option(True, "skip connection from x to z2 in q(z2|x,y,z1)", "paper section 3.1", models=("cagem",))
    y_edge_scale: float = option(1.0, "factor on the initial weights of the edges that leave y", above=0, models=WITH_Y)

    # batch normalisation
    bn_epsilon: float = option(1e-4, "added to the variance", "Lasagne", above=0)
    bn_momentum: float = option(0.1, "weight of the newest step in the running averages", "Lasagne", above=0, below=1)
    labelled_bn: str = option(
        "unlabelled",
        "statistics of the labelled pass: the unlabelled ones of the same step, or its own (leaks the label set)",
        choices=("unlabelled", "own"),
        models=WITH_Y,
    )
    class_bn: str = option(
        "uniform",
        "weight of the K rows of an image in batch statistics: equal, or q(y|z1,x)",
        choices=("uniform", "q"),
        models=WITH_Y,
    )
    bn_eval: str = option(
        "ema",
        "statistics in evaluation: running averages, or collected anew over the training set",
        choices=("ema", "collect"),
        role="evaluation",
    )

    # objective
    routing: str = option(
        "paper",
        "paper: the cross-entropies update theta_y and phi_y only; full: every parameter (ablation)",
        "paper section 4",
        choices=("paper", "full"),
        models=("cagem",),
    )
    label_weight: str = option(
        "10",
        "weight w_q of mean H_q per minibatch: a number, paper:BETA = BETA (N_u+N_l)/N_u, or adgm:BETA = BETA N_u/N_l",
        "paper section 4 gives no beta; 10 from a prototype; adgm:0.1 for adgm, sdgm and m2, as ADGM code",
        models=WITH_Y,
    )
    label_weight_p: str = option("same", "weight w_p of mean H_p: as --label-weight, or same", models=("cagem",))
    labelled_bound: float = option(
        1.0,
        "weight of the mean bound on log p(x_l, y_l) per minibatch",
        "ADGM code; its sums read N_l / N_u",
        minimum=0,
        models=("adgm", "sdgm", "m2"),
        later=True,
    )
    warmup_epochs: int = option(
        100, "epochs over which the temperature rises from 0 to 1; 0: none", "paper section 5", minimum=0
    )
    tempered: str = option(
        "all",
        "terms that the temperature multiplies: all but log p(x|.), or without y's, log p(y|.) - log q(y|.)",
        "the paper does not say",
        choices=("all", "z"),
        models=WITH_Y,
        later=True,
    )
    train_iw: int = option(
        1, "samples of each image in training; 1 is the paper's F (iwae: 50)", "paper Table 1, IW", minimum=1
    )
    iw_objective: str = option(
        "weighted",
        "of several samples: weighted = log of the mean weight (IWAE); averaged = mean of their bounds F (Burda's VAE)",
        "Burda et al. (2015a), Table 1",
        choices=("weighted", "averaged"),
        later=True,
    )

    # optimiser
    epochs: int = option(1000, "passes over the unlabelled images", "unknown; ADGM code 1000", minimum=1, role="length")
    batch_size: int = option(100, "unlabelled images per step", "ADGM code", minimum=1)
    labelled_batch_size: int = option(100, "labelled images per step, at most all", "ADGM code", minimum=1)
    learning_rate: float = option(1e-3, "Adam step size", "paper section 5", above=0)
    learning_rate_decay: float = option(0.75, "factor on the step size", "paper section 5", above=0, maximum=1)
    decay_epochs: int = option(50, "epochs between decays", "paper section 5", minimum=1)
    learning_rate_floor: float = option(0.0, "smallest step size", "ADGM code has 3e-5", minimum=0)
    adam_beta1: float = option(0.9, "decay of the first moment", "paper (Adam)", minimum=0, below=1)
    adam_beta2: float = option(0.999, "decay of the second moment", "paper (Adam)", minimum=0, below=1)
    adam_epsilon: float = option(1e-8, "added to the root of the second moment", "ADGM code; 1e-4 in Parmesan", above=0)
    clip_norm: float = option(0.0, "clip the norms of (theta_y, phi_y) and of the rest, each alone; 0: off", minimum=0)

    # data
    pixel_scale: float = option(
        256.0, "a pixel v is 1 with probability v / scale (255: 1.3 nats easier)", "ADGM code", above=0
    )
    holdout: int = option(0, "training images kept out for choosing settings, never labelled ones", minimum=0)
    train_images: int = option(0, "use only that many unlabelled images; 0: all", minimum=0)

    # evaluation
    iw_samples: int = option(5000, "k of the reported bound F_k", "paper section 5", minimum=1, role="evaluation")
    eval_images: int = option(
        0, "test images of the bound, a class-stratified seeded subset; 0: all", minimum=0, role="evaluation"
    )
    eval_split: str = option(
        "test",
        "images of the evaluation: the test set, or the training images that --holdout keeps out (to choose settings)",
        choices=("test", "heldout"),
        role="evaluation",
        later=True,
    )
    eval_seed: int = option(
        1, "seed of the evaluation's binarisation, subset and noise", minimum=0, maximum=MAX_SEED, role="evaluation"
    )
    eval_seeds: int = option(
        1, "evaluations, from eval-seed on, each with an own binarisation and noise", minimum=1, role="evaluation"
    )
    estimator: str = option(
        "marginal",
        "F_k sums over y, or samples y (a fifth of the cost at K = 10, looser)",
        "paper section 3.1",
        choices=("marginal", "sampled"),
        role="evaluation",
        models=WITH_Y,
    )
    class_draws: int = option(100, "draws averaged in the classifiers' probabilities", minimum=1, role="evaluation")

    # machine
    engine: str = option(
        engines.default(),
        "what executes the Theano graph: xla (the default where JAX is installed), or c = Theano's own C code",
        choices=("xla", "c"),
    )
    precision: str = option(
        "float32",
        "matrix products of engine xla: float32, tf32 (NVIDIA GPUs) or bf16; sums and weights stay float32",
        choices=("float32", "tf32", "bf16"),
    )
    devices: int = option(1, "devices that share a batch (engine c has one)", minimum=1)
    checkpoint_every: int = option(1, "epochs between checkpoints", minimum=1, role="length")

    def __post_init__(self) -> None:
        options.check(self)
        for name in ("label_weight", "label_weight_p"):  # 10 and 10.0 are one setting
            object.__setattr__(self, name, shortest(getattr(self, name)))
        self._check_model()
        self._check_labels()
        if self.dataset == "omniglot" and self.pixel_scale != 1:
            raise UserError(
                f"--pixel-scale {self.pixel_scale}: OMNIGLOT's pixels are probabilities; leave it out (or 1)"
            )
        if self.engine == "c":
            if self.devices != 1:
                raise UserError(f"--devices {self.devices}: engine c runs on one device; use --devices 1")
            if self.precision != "float32":
                raise UserError(f"--precision {self.precision}: engine c has float32 only; use --engine xla")
        if self.eval_seed + self.eval_seeds - 1 > MAX_SEED:
            raise UserError(
                f"--eval-seed {self.eval_seed} --eval-seeds {self.eval_seeds}: the last seed must be at most {MAX_SEED}"
            )
        for flag, size in (("batch-size", self.batch_size), ("labelled-batch-size", self._labelled_rows())):
            if size % self.devices:
                below = size - size % self.devices
                nearest = f"{below} or {below + self.devices}" if below else f"{self.devices}"
                raise UserError(
                    f"--{flag} {size} --devices {self.devices}: a batch is cut into equal parts; use --{flag} {nearest}"
                )

    def _labelled_rows(self) -> int:
        return min(self.labelled_batch_size, self.labels)

    def _check_model(self) -> None:
        weighted = self.train_iw > 1 and self.iw_objective == "weighted"
        if self.model == "vae" and weighted:  # one setting, one name
            object.__setattr__(self, "model", "iwae")
        if self.model == "iwae" and not weighted:
            raise UserError(
                f"--model iwae --train-iw {self.train_iw} --iw-objective {self.iw_objective}: that is no "
                f"importance-weighted bound; use --model vae, or --train-iw above 1 with --iw-objective weighted"
            )
        if self.labels and self.model not in WITH_Y:
            raise UserError(f"--labels {self.labels}: --model {self.model} has no classes; use --labels 0")
        usual = {**DATASETS[self.dataset], **MODELS[self.model]}  # without a meaning here, so one value only: one hash
        for field in dataclasses.fields(self):
            has, value = field.metadata["models"], getattr(self, field.name)
            if has and self.model not in has and value != usual.get(field.name, field.default):
                flag = "--" + field.name.replace("_", "-")
                raise UserError(
                    f"{flag} {value}: --model {self.model} has no such setting ({', '.join(has)} have); leave it out"
                )

    @property
    def latent_units(self) -> tuple[int, ...]:
        """Dimensions of z1 to zL.

        Examples
        --------
        >>> Experiment(model="lvae", labels=0, layers=5).latent_units
        (64, 32, 16, 8, 4)
        """
        upper = [max(1, self.z2_dim // 2**level) for level in range(self.layers - 1)]
        return (self.z1_dim, *upper)

    def _check_labels(self) -> None:
        classes = CLASSES[self.dataset]
        if self.labels and self.clusters != classes:
            raise UserError(
                f"--clusters {self.clusters} --labels {self.labels}: with labels, K must equal the {classes} classes; "
                f"use --clusters {classes} or --labels 0"
            )
        self.label_weights(1, max(self.labels, 1))

    def label_weights(self, unlabelled: int, labelled: int) -> tuple[float, float]:
        """Resolve ``label_weight`` and ``label_weight_p``.

        Parameters
        ----------
        unlabelled, labelled : int
            N_u and N_l.

        Returns
        -------
        (w_q, w_p) : tuple of float
            In: maximise mean_u F - w_q mean_l H_q - w_p mean_l H_p.
        """
        w_q = resolve("--label-weight", self.label_weight, unlabelled, labelled)
        same = self.label_weight_p == "same"
        return w_q, w_q if same else resolve("--label-weight-p", self.label_weight_p, unlabelled, labelled)

    def to_dict(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """Inverse of :meth:`to_dict`; unknown keys raise."""
        if unknown := sorted(set(values) - {f.name for f in dataclasses.fields(cls)}):
            raise UserError(f"unknown setting {', '.join(unknown)}: not in this version's Experiment")
        return cls(**values)

    def training_hash(self) -> str:
        """SHA-256 over the settings that shape the weights (role ``training``)."""
        kept = {k: v for k, v in self.to_dict().items() if k not in MAY_CHANGE and (k not in LATER or v != LATER[k])}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


# What `--resume` may change: the run's length and its evaluation.
MAY_CHANGE = frozenset(f.name for f in dataclasses.fields(Experiment) if f.metadata["role"] != "training")

# Settings that runs of older versions lack, and what their absence means.
LATER = {f.name: f.default for f in dataclasses.fields(Experiment) if f.metadata["later"]}


def experiment(preset: str, **changes: Any) -> Experiment:
    """The defaults of the data set and of the model, the preset's settings, then ``changes``.

    Examples
    --------
    >>> experiment("short", labels=50).warmup_epochs
    10
    >>> experiment("short", dataset="omniglot").clusters
    50
    """
    if preset not in PRESETS:
        raise UserError(f"--preset {preset}: unknown; choose one of {', '.join(PRESETS)}")
    # Unknown ones are Experiment's to refuse.
    defaults = {**DATASETS.get(changes.get("dataset", "mnist"), {}), **MODELS.get(changes.get("model", "cagem"), {})}
    return Experiment.from_dict({**defaults, **PRESETS[preset], **changes, "preset": preset})


def usual(preset: str, dataset: str, model: str = "cagem") -> dict[str, Any]:
    """Every setting as a preset has it on a data set, with a model.

    Examples
    --------
    >>> usual("short", "omniglot")["clusters"], usual("short", "omniglot")["epochs"]
    (50, 60)
    """
    differences = {**DATASETS.get(dataset, {}), **MODELS.get(model, {}), **PRESETS[preset]}
    return {**Experiment().to_dict(), **differences, "preset": preset, "model": model}
