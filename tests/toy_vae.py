"""The VAE in NumPy: an independent forward pass, and its bounds in loops over images, layers and samples."""

from types import SimpleNamespace

import numpy as np
import toy

# Every layer has another width, so that a transposed or misplaced one cannot fit.
SIZES = {"model": "vae", "z1_dim": 3, "z2_dim": 4}


def model(**changes):
    return toy.model(**{**SIZES, **changes})


class Oracle(toy.Networks):
    """q(z1|x) q(z2|z1) ... and p(x|z1) p(z1|z2) ... p(zL); lists have z1 first."""

    def forward(self, x, *eps, statistics="running"):
        """Every log-density of one sample, (B,) each."""
        self.seen, below = {}, {"x": x}
        t = SimpleNamespace(p=[], q=[], mu=[], z=[])
        for level, noise in enumerate(eps, start=1):
            d = self.hidden(f"q_z{level}", below, statistics)
            mu, log_sigma = self.head(f"q_z{level}.mu", d), self.head(f"q_z{level}.log_sigma", d)
            z = mu + np.exp(log_sigma) * noise
            t.q.append(toy.log_normal(z, mu, log_sigma))
            t.mu.append(mu)
            t.z.append(z)
            below = {f"z{level}": z}
        t.kl = 0.5 * (np.exp(2 * log_sigma) + mu**2 - 1 - 2 * log_sigma).sum(axis=1)
        for level in range(1, len(eps)):
            t.p.append(toy.log_normal(t.z[level - 1], *self.p_z(level, t.z[level], statistics)))
        t.p.append(toy.log_normal(t.z[-1], 0.0, 0.0))
        t.p_x = toy.log_bernoulli(x, self.p_x(t.z[0], statistics))
        return t

    def p_z(self, level, above, statistics="running"):
        """Mu and log sigma of p(z_level|z_level+1)."""
        d = self.hidden(f"p_z{level}", {f"z{level + 1}": above}, statistics)
        return self.head(f"p_z{level}.mu", d), self.head(f"p_z{level}.log_sigma", d)

    def p_x(self, z1, statistics="running"):
        """Logits."""
        return self.head("p_x.logits", self.hidden("p_x", {"z1": z1}, statistics))


def bound(t, temperature=1.0):
    """F of every image; the logarithm of its importance weight too, for there is no class to sum over."""
    values = []
    for b in range(len(t.p_x)):
        value = t.p_x[b]
        for log_p, log_q in zip(t.p, t.q, strict=True):
            value += temperature * (log_p[b] - log_q[b])
        values.append(value)
    return np.array(values)


def mean_bounds(t, samples, temperature=1.0):
    """Means over images, of which each has ``samples`` neighbouring rows: (log mean_s w_s, mean_s F_s)."""
    weights = bound(t, temperature)
    weighted, averaged, images = 0.0, 0.0, len(weights) // samples
    for b in range(images):
        own = [weights[b * samples + s] for s in range(samples)]
        weighted += np.log(sum(np.exp(w) for w in own) / samples) / images
        averaged += sum(own) / samples / images
    return weighted, averaged
