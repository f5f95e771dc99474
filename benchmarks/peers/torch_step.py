"""The training step of CaGeM in PyTorch, as one would write it by hand; eager, or compiled by ``torch.compile``.

The class axis is flattened into the rows of one matrix product, batch norm is the native one (it returns the statistics
that the labelled pass and the running averages need), Adam is the fused one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.problem import OUTPUTS, Arrays, Problem, require_implemented
from parmesan_cagem.config import Experiment

Tensors = dict[str, Tensor]
Moments = dict[str, tuple[Tensor, Tensor]]
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Pass:
    """One pass through the networks.

    Parameters
    ----------
    w : dict
        Weights by the names of the Theano model.
    e : Experiment
    given : dict or None
        Batch-norm statistics by layer; None: the pass's own, which ``seen`` then holds, detached.
    """

    def __init__(self, w: Tensors, e: Experiment, given: Moments | None = None) -> None:
        self.w, self.e, self.given = w, e, given
        self.seen: Moments = {}

    def edge(self, name: str, rows: Tensor) -> Tensor:
        return rows @ self.w[f"{name}.W"]

    def head(self, name: str, rows: Tensor) -> Tensor:
        return torch.addmm(self.w[f"{name}.b"], rows, self.w[f"{name}.W"])

    def gaussian(self, name: str, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(f"{name}.mu", rows), self.head(f"{name}.log_sigma", rows)

    def hidden(self, name: str, total: Tensor) -> Tensor:
        """The two hidden layers of a network, from the sum of its edges: (rows, H) -> (rows, H')."""
        d = self.normalise(f"{name}.bn1", total).relu_()
        return self.normalise(f"{name}.bn2", d @ self.w[f"{name}.dense2.W"]).relu_()

    def normalise(self, name: str, rows: Tensor) -> Tensor:
        gamma, beta, epsilon = self.w[f"{name}.gamma"], self.w[f"{name}.beta"], self.e.bn_epsilon
        if self.given is not None:
            return functional.batch_norm(rows, *self.given[name], gamma, beta, False, 0.0, epsilon)
        normalised, mean, inverse = torch.native_batch_norm(rows, gamma, beta, None, None, True, 0.0, epsilon)
        self.seen[name] = mean.detach(), inverse.detach().pow(-2) - epsilon
        return normalised

    def infer_z1(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A sample of q(z1|x), and its mu and log sigma: (B, z1) each."""
        mu, log_sigma = self.gaussian("q_z1", self.hidden("q_z1", self.edge("q_z1.edge_x", x)))
        return mu + log_sigma.exp() * eps, mu, log_sigma

    def infer_y(self, x: Tensor, z1: Tensor) -> Tensor:
        """``log q(y|z1,x)``, (B, K)."""
        total = torch.addmm(self.edge("q_y.edge_x", x), z1, self.w["q_y.edge_z1.W"])
        return self.head("q_y.logits", self.hidden("q_y", total)).log_softmax(-1)

    def infer_z2(self, x: Tensor, z1: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A sample of q(z2|x,y,z1) for every class, and its mu and log sigma: (B*K, z2) each."""
        image = torch.addmm(self.edge("q_z2.edge_x", x), z1, self.w["q_z2.edge_z1.W"])  # (B, H)
        mu, log_sigma = self.gaussian("q_z2", self.hidden("q_z2", self.over_classes("q_z2", image)))
        return mu + log_sigma.exp() * eps, mu, log_sigma

    def generate_y(self, z2: Tensor) -> Tensor:
        """``log p(y'|z2^y)``, (B, K, K), y' last."""
        logits = self.head("p_y.logits", self.hidden("p_y", self.edge("p_y.edge_z2", z2)))
        return logits.log_softmax(-1).view(-1, self.e.clusters, self.e.clusters)

    def over_classes(self, name: str, image: Tensor) -> Tensor:
        """Add each class's projection to each image's, (B, H) -> (B*K, H). y is one-hot: its projection is a row."""
        return (image[:, None, :] + self.w[f"{name}.edge_y.W"]).view(-1, image.shape[1])


def log_normal(x: Tensor, mu: Tensor, log_sigma: Tensor) -> Tensor:
    """(..., D) -> (...), nats."""
    return (-HALF_LOG_2PI - log_sigma - 0.5 * ((x - mu) * (-log_sigma).exp()).square()).sum(-1)


def unlabelled_pass(run: Pass, x: Tensor, eps_1: Tensor, eps_2: Tensor, temperature: Tensor) -> Tensors:
    """The mean bound over a batch and its terms (parmesan_cagem.objectives): name -> scalar, usage (K,)."""
    classes, w = run.e.clusters, run.w
    z1, mu_1, log_sigma_1 = run.infer_z1(x, eps_1)
    log_q_y = run.infer_y(x, z1)
    z2, mu_2, log_sigma_2 = run.infer_z2(x, z1, eps_2)
    p_y = run.generate_y(z2).diagonal(dim1=1, dim2=2)  # (B, K)
    projected = run.edge("p_z1.edge_z2", z2)  # (B*K, H)
    total = projected.view(-1, classes, projected.shape[1]) + w["p_z1.edge_y.W"]
    p_mu, p_log_sigma = run.gaussian("p_z1", run.hidden("p_z1", total.view_as(projected)))
    logits = run.head("p_x.logits", run.hidden("p_x", run.over_classes("p_x", run.edge("p_x.edge_z1", z1))))

    def pairs(rows: Tensor) -> Tensor:
        return rows.view(-1, classes, *rows.shape[1:])

    p_x = (x[:, None, :] * pairs(logits) - functional.softplus(pairs(logits))).sum(-1)  # (B, K)
    p_z1 = log_normal(z1[:, None, :], pairs(p_mu), pairs(p_log_sigma))
    p_z2 = pairs((-HALF_LOG_2PI - 0.5 * z2.square()).sum(-1))
    q_z2 = pairs(log_normal(z2, mu_2, log_sigma_2))
    q_z1 = log_normal(z1, mu_1, log_sigma_1)  # (B,)
    q_y = log_q_y.exp()
    latent = p_z1 + p_y + p_z2 - q_z2 - log_q_y

    def expected(terms: Tensor) -> Tensor:
        return (q_y * terms).sum(1).mean()

    objective = expected(p_x + temperature * latent) - temperature * q_z1.mean()
    with torch.no_grad():  # what is only logged
        kl_z2 = pairs(0.5 * ((2 * log_sigma_2).exp() + mu_2.square() - 1 - 2 * log_sigma_2).sum(-1))
        return {
            "objective": objective,
            "F": expected(p_x + latent) - q_z1.mean(),
            "reconstruction": expected(p_x),
            "KL_z1": q_z1.mean() - expected(p_z1),
            "KL_z2": expected(kl_z2),
            "KL_z2_sampled": expected(q_z2 - p_z2),
            "KL_y": expected(log_q_y - p_y),
            "usage": q_y.mean(0),
        }


def labelled_pass(run: Pass, x: Tensor, y: Tensor, eps_1: Tensor, eps_2: Tensor) -> tuple[Tensor, Tensor]:
    """Mean H_q and H_p; gradients reach theta_y and phi_y only (paper section 4)."""
    with torch.no_grad():
        z1 = run.infer_z1(x, eps_1)[0]
        z2 = run.infer_z2(x, z1, eps_2)[0]
    log_q = run.infer_y(x, z1)
    log_p = (log_q[:, :, None] + run.generate_y(z2)).logsumexp(1)
    return functional.nll_loss(log_q, y), functional.nll_loss(log_p, y)


class TorchStep:
    """The contestant: holds its state and runs blocks of steps.

    Parameters
    ----------
    problem : Problem
    compiled : bool
        ``torch.compile`` of binarisation, loss and, through autograd, its gradient, in the default mode: on a processor
        ``max-autotune-no-cudagraphs`` makes the same step. Adam stays the fused kernel.
    threads : int
    """

    def __init__(self, problem: Problem, compiled: bool = False, threads: int = 2) -> None:
        require_implemented(problem.experiment)
        torch.set_num_threads(threads)
        self.problem, self.e = problem, problem.experiment
        self.generator = torch.manual_seed(self.e.seed)
        self.weights = {name: torch.tensor(problem.weights[name]).requires_grad_() for name in problem.trainable}
        norms = [name.removesuffix(".gamma") for name in self.weights if name.endswith(".gamma")]
        self.running: Moments = {
            n: tuple(torch.tensor(problem.weights[f"{n}.running_{moment}"]) for moment in ("mean", "variance"))  # type: ignore[misc]
            for n in norms
        }
        e = self.e
        betas = (e.adam_beta1, e.adam_beta2)
        self.adam = torch.optim.Adam(list(self.weights.values()), e.learning_rate, betas, e.adam_epsilon, fused=True)
        self.data = [torch.tensor(v) for v in (problem.images, problem.labelled, problem.labels.astype(np.int64))]
        self.steps = 0
        self._loss = torch.compile(self.loss) if compiled else self.loss

    def loss(
        self, pixels: Tensor, pixels_l: Tensor, y_l: Tensor, noise: Tensors, temperature: Tensor
    ) -> tuple[Tensor, Tensors, Moments]:
        """Pixels (B, D) and (L, D), labels (L,), noise by name -> loss, outputs, batch-norm statistics."""
        e, (w_q, w_p) = self.e, self.problem.label_weights
        x = (noise["binarise"] < pixels / e.pixel_scale).float()
        x_l = (noise["binarise_labelled"] < pixels_l / e.pixel_scale).float()
        run = Pass(self.weights, e)
        outputs = unlabelled_pass(run, x, noise["eps_z1"], noise["eps_z2"], temperature)
        given = Pass(self.weights, e, run.seen)
        h_q, h_p = labelled_pass(given, x_l, y_l, noise["eps_z1_labelled"], noise["eps_z2_labelled"])
        loss = -outputs["objective"] + w_q * h_q + w_p * h_p
        outputs = {name: value.detach() for name, value in {**outputs, "H_q": h_q, "H_p": h_p}.items()}
        return loss, outputs, run.seen

    def step(self, noise: Tensors, batch: Tensor, batch_l: Tensor, temperature: Tensor, rate: float) -> Tensors:
        """One step, given its noise."""
        e, (images, labelled, labels) = self.e, self.data
        self.adam.zero_grad()
        loss, outputs, seen = self._loss(images[batch], labelled[batch_l], labels[batch_l], noise, temperature)
        loss.backward()
        with torch.no_grad():
            for group, routed in (("y", True), ("rest", False)):
                chosen = [p.grad for n, p in self.weights.items() if (n.split(".")[0] in ("p_y", "q_y")) == routed]
                outputs[f"gradient_norm_{group}"] = torch.nn.utils.get_total_norm(chosen)
            averages = [average for pair in self.running.values() for average in pair]
            torch._foreach_lerp_(averages, [moment for name in self.running for moment in seen[name]], e.bn_momentum)
        self.steps += 1
        # Lasagne adds epsilon to the root of v, torch to the root of the bias-corrected v: this makes the two equal.
        self.adam.param_groups[0]["lr"] = rate
        self.adam.param_groups[0]["eps"] = e.adam_epsilon / math.sqrt(1 - e.adam_beta2**self.steps)
        self.adam.step()
        return outputs

    def run(self, *inputs: np.ndarray) -> Arrays:
        """A block of steps with fresh noise: stacked inputs -> stacked outputs."""
        batches, batches_l, temperatures = (torch.from_numpy(values) for values in inputs[:3])
        shapes = self.problem.noise_shapes()
        collected = []
        for i, rate in enumerate(inputs[3].tolist()):
            noise = {n: (torch.rand if n.startswith("binarise") else torch.randn)(s) for n, s in shapes.items()}
            collected.append(self.step(noise, batches[i], batches_l[i], temperatures[i], rate))
        return {name: torch.stack([outputs[name] for outputs in collected]).numpy() for name in OUTPUTS}

    def run_given(self, noise: Arrays, *inputs: np.ndarray) -> Arrays:
        """One step with noise from outside, for the equality check."""
        batch, batch_l, temperature, rate = (torch.as_tensor(value) for value in inputs)
        given = {name: torch.from_numpy(value) for name, value in noise.items()}
        outputs = self.step(given, batch, batch_l, temperature, float(rate))
        return {name: value.numpy() for name, value in outputs.items()}

    def values(self) -> Arrays:
        """Weights, running averages and Adam's moments, named as in a checkpoint."""
        named = {f"weights/{name}": value.detach() for name, value in self.weights.items()}
        for name, (mean, variance) in self.running.items():
            named |= {f"weights/{name}.running_mean": mean, f"weights/{name}.running_variance": variance}
        for key, moment in (("m", "exp_avg"), ("v", "exp_avg_sq")):
            named |= {f"adam/{key}/{name}": self.adam.state[value][moment] for name, value in self.weights.items()}
        return {name: value.numpy().copy() for name, value in named.items()}
