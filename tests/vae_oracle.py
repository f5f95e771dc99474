"""The VAE's forward pass in NumPy, float64, under the running averages: bottom-up inference, top-down generation."""

import numpy as np
from scipy.stats import norm


class VAEOracle:
    """From a model's weights by name; ``noise`` is of z1 to zL, (N, units) each."""

    def __init__(self, model):
        self.w = {p.name: p.get_value().astype(np.float64) for p in model.params()}
        self.layers, self.epsilon = model.experiment.layers, model.experiment.bn_epsilon

    def normalised(self, name, rows):
        mean, variance = self.w[f"{name}.running_mean"], self.w[f"{name}.running_variance"]
        rows = (rows - mean) / np.sqrt(variance + self.epsilon)
        return np.maximum(0, self.w[f"{name}.gamma"] * rows + self.w[f"{name}.beta"])

    def hidden(self, name, edge, rows):
        first = self.normalised(f"{name}.bn1", rows @ self.w[f"{name}.edge_{edge}.W"])
        return self.normalised(f"{name}.bn2", first @ self.w[f"{name}.dense2.W"])

    def head(self, name, rows):
        return rows @ self.w[f"{name}.W"] + self.w[f"{name}.b"]

    def gaussian(self, name, edge, rows):
        """Mean and standard deviation."""
        d = self.hidden(name, edge, rows)
        return self.head(f"{name}.mu", d), np.exp(self.head(f"{name}.log_sigma", d))

    def p_z(self, level, above):
        """Of p(z_level|z_level+1); the top's is N(0, I)."""
        if level == self.layers:
            return 0.0, 1.0
        return self.gaussian(f"p_z{level}", f"z{level + 1}", above)

    def pixels(self, z1):
        """Means of p(x|z1)."""
        return 1 / (1 + np.exp(-self.head("p_x.logits", self.hidden("p_x", "z1", z1))))

    def terms(self, x, noise):
        """The posterior means, and by the names of a record: log w, reconstruction, every KL term; (N,) each, nats."""
        posterior, z, below, edge = [], [], x, "x"
        for level in range(1, self.layers + 1):
            posterior.append(self.gaussian(f"q_z{level}", edge, below))
            z.append(posterior[-1][0] + posterior[-1][1] * noise[level - 1])
            below, edge = z[-1], f"z{level}"
        pixels, found = self.pixels(z[0]), {}
        found["reconstruction"] = np.log(np.where(x == 1, pixels, 1 - pixels)).sum(axis=1)
        log_w = found["reconstruction"]
        for level, (mu, sigma) in enumerate(posterior, start=1):
            p = self.p_z(level, z[level] if level < self.layers else None)
            sampled = (norm.logpdf(z[level - 1], mu, sigma) - norm.logpdf(z[level - 1], *p)).sum(axis=1)
            log_w = log_w - sampled
            if level < self.layers:
                found[f"KL_z{level}"] = sampled
            else:
                found[f"KL_z{level}"] = 0.5 * (sigma**2 + mu**2 - 1 - 2 * np.log(sigma)).sum(axis=1)
                found[f"KL_z{level}_sampled"] = sampled
        return [mu for mu, _ in posterior], {"log w": log_w, **found}

    def generate(self, noise):
        """Pixels of a draw from the top down; the top is its noise itself."""
        z = noise[-1]
        for level in range(self.layers - 1, 0, -1):
            mu, sigma = self.p_z(level, z)
            z = mu + sigma * noise[level - 1]
        return self.pixels(z)
