"""Tiny AVAEs and an independent forward pass of them in NumPy."""

import numpy as np
import toy

from parmesan_cagem import models
from parmesan_cagem.config import Experiment


def experiment(**changes):
    sizes = {name: size for name, size in toy.SIZES.items() if name != "clusters"}
    return Experiment(**{**sizes, "model": "avae", "layers": 3, "z1_dim": 3, "a_dim": 4, **changes})


def model(x_dim=toy.X_DIM, **changes):
    """A tiny model with random weights of every kind, running averages included."""
    built = models.build(experiment(**changes), x_dim)
    toy.randomise(built, 0)
    return built


def draws(built, count, seed=0):
    """x, and the noise of every variable by name."""
    rng, units = np.random.default_rng([seed, 3]), {}
    for level, z in enumerate(built.experiment.latent_units, start=1):
        units.update({f"a{level}": built.experiment.a_dim, f"z{level}": z})
    return toy.images(count, built.x_dim, seed), {v: rng.normal(size=(count, n)) for v, n in units.items()}


class Oracle(toy.Oracle):
    """In NumPy, float64, from a dict of weights by name."""

    def gaussian(self, network, edges, statistics="running"):
        d = self.hidden(network, edges, statistics)
        return self.head(f"{network}.mu", d), self.head(f"{network}.log_sigma", d)

    def p_x(self, z1, statistics="running"):
        """Logits."""
        return self.head("p_x.logits", self.hidden("p_x", {"z1": z1}, statistics))

    def forward(self, x, noise, statistics="running"):
        """log p(x|z1), and {variable: (log p, log q, mu, sample)}."""
        layers, of, drawn = self.e.layers, {}, {}
        for level in range(1, layers + 1):
            a, z = f"a{level}", f"z{level}"
            for v, parents in (
                (a, {"x": x} if level == 1 else {"x": x, f"a{level - 1}": drawn.get(f"a{level - 1}")}),
                (z, {"x": x} if level == 1 else {f"z{level - 1}": drawn.get(f"z{level - 1}")}),
            ):
                edges = {**parents, a: drawn[a]} if v == z else parents
                mu, s = self.gaussian(f"q_{v}", edges, statistics)
                drawn[v] = mu + np.exp(s) * noise[v]
                of[v] = [toy.log_normal(drawn[v], mu, s), mu, s]
        self.kl_top = 0.5 * (np.exp(2 * of[z][2]) + of[z][1] ** 2 - 1 - 2 * of[z][2]).sum(axis=1)
        found = {}
        for v, (log_q, mu, _) in of.items():
            level = int(v[1:])
            if v[0] == "a":
                p = self.gaussian(f"p_{v}", {f"z{i}": drawn[f"z{i}"] for i in range(level, layers + 1)}, statistics)
            elif level < layers:
                p = self.gaussian(f"p_{v}", {f"z{level + 1}": drawn[f"z{level + 1}"]}, statistics)
            else:
                p = (0.0, 0.0)
            found[v] = (toy.log_normal(drawn[v], *p), log_q, mu, drawn[v])
        return toy.log_bernoulli(x, self.p_x(drawn["z1"], statistics)), found
