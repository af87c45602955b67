"""The networks and the objective once more, in plain NumPy and float64, to test against.

Written from the formulas alone; nothing here calls the project's code or Keras. Convolutions are
loops over the kernel's taps, 'same' padding as TensorFlow defines it.
"""

from __future__ import annotations

import numpy as np

BN_EPSILON = 1e-5


def softplus(x):
    return np.logaddexp(0.0, x)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def relu(x):
    return np.maximum(x, 0.0)


def conv2d(x, kernel, stride):
    """x (n, h, w, cin), kernel (k, k, cin, cout), 'same' padding."""
    k = kernel.shape[0]
    n, h, w, _ = x.shape
    out_h, out_w = -(-h // stride), -(-w // stride)
    pad_h = max((out_h - 1) * stride + k - h, 0)
    pad_w = max((out_w - 1) * stride + k - w, 0)
    top, left = pad_h // 2, pad_w // 2
    padded = np.pad(x, ((0, 0), (top, pad_h - top), (left, pad_w - left), (0, 0)))
    out = np.zeros((n, out_h, out_w, kernel.shape[3]))
    for i in range(k):
        for j in range(k):
            taps = padded[
                :,
                i : i + (out_h - 1) * stride + 1 : stride,
                j : j + (out_w - 1) * stride + 1 : stride,
            ]
            out += taps @ kernel[i, j]
    return out


def deconv2d(x, kernel, stride):
    """The transpose of conv2d: x (n, h, w, cin), kernel (k, k, cout, cin)."""
    k = kernel.shape[0]
    n, h, w, _ = x.shape
    out_h, out_w = h * stride, w * stride
    pad = max((h - 1) * stride + k - out_h, 0)
    top = pad // 2
    full = np.zeros((n, (h - 1) * stride + k, (w - 1) * stride + k, kernel.shape[2]))
    for i in range(k):
        for j in range(k):
            full[
                :, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride
            ] += x @ kernel[i, j].T
    return full[:, top : top + out_h, top : top + out_w]


def batch_norm(x, scale, offset):
    """With the batch's own moments, as in training."""
    axes = tuple(range(x.ndim - 1))
    return (x - x.mean(axes)) / np.sqrt(x.var(axes) + BN_EPSILON) * scale + offset


def spectral(kernel, u):
    """kernel / sigma by one step of power iteration from u, and sigma."""
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = matrix @ u
    v /= np.linalg.norm(v)
    new_u = v @ matrix
    new_u /= np.linalg.norm(new_u)
    sigma = v @ matrix @ new_u
    return kernel / sigma, sigma


def infogan_features(x, weights):
    """The last hidden layer. weights: name -> arrays in float64; see test_vae.py for the names."""
    h = conv2d(x, spectral(weights["conv1/kernel"], weights["conv1/u"])[0], 2)
    h = lrelu(h + weights["conv1/bias"])
    h = conv2d(h, spectral(weights["conv2/kernel"], weights["conv2/u"])[0], 2)
    h = lrelu(batch_norm(h + weights["conv2/bias"], weights["bn2/gamma"], weights["bn2/beta"]))
    h = h.reshape(len(x), -1)
    h = h @ spectral(weights["dense3/kernel"], weights["dense3/u"])[0] + weights["dense3/bias"]
    return lrelu(batch_norm(h, weights["bn3/gamma"], weights["bn3/beta"]))


def infogan_encoder(x, weights):
    h = infogan_features(x, weights)
    h = h @ spectral(weights["dense4/kernel"], weights["dense4/u"])[0] + weights["dense4/bias"]
    kappa = h.shape[1] // 2
    return h[:, :kappa], 1e-6 + softplus(h[:, kappa:])


def infogan_decoder(z, weights, image_shape):
    height, width, _ = image_shape
    h = z @ weights["dense1/kernel"] + weights["dense1/bias"]
    h = relu(batch_norm(h, weights["bn1/gamma"], weights["bn1/beta"]))
    h = h @ weights["dense2/kernel"] + weights["dense2/bias"]
    h = relu(batch_norm(h, weights["bn2/gamma"], weights["bn2/beta"]))
    h = h.reshape(len(z), height // 4, width // 4, 128)
    h = deconv2d(h, weights["deconv3/kernel"], 2) + weights["deconv3/bias"]
    h = relu(batch_norm(h, weights["bn3/gamma"], weights["bn3/beta"]))
    return sigmoid(deconv2d(h, weights["deconv4/kernel"], 2) + weights["deconv4/bias"])


def second_encoder(z, weights):
    h = z
    for i in (1, 2, 3):
        h = relu(h @ weights[f"dense{i}/kernel"] + weights[f"dense{i}/bias"])
    h = np.concatenate([h, z], axis=1)
    mu = h @ weights["mu/kernel"] + weights["mu/bias"]
    return mu, np.exp(h @ weights["log_sd/kernel"] + weights["log_sd/bias"])


def second_decoder(u, weights):
    h = u
    for i in (1, 2, 3):
        h = relu(h @ weights[f"dense{i}/kernel"] + weights[f"dense{i}/bias"])
    h = np.concatenate([h, u], axis=1)
    return h @ weights["z_hat/kernel"] + weights["z_hat/bias"]


def kl(mu, sd):
    """1/2 sum(mu^2 + sd^2 - 2 log sd - 1), per example."""
    return 0.5 * (mu**2 + sd**2 - 2 * np.log(sd) - 1).sum(axis=1)


def gaussian(x, x_hat, log_gamma):
    """sum(((x - x_hat) / g)^2 / 2 + log g + 0.91893), per example."""
    error = ((x - x_hat) / np.exp(log_gamma)).reshape(len(x), -1)
    return (error**2 / 2 + log_gamma + 0.91893).sum(axis=1)


def gaussian_gradient(x, x_hat, log_gamma):
    """d gaussian / d log g = sum(1 - ((x - x_hat) / g)^2), per example."""
    error = ((x - x_hat) / np.exp(log_gamma)).reshape(len(x), -1)
    return (1 - error**2).sum(axis=1)


def planar_flows(z, parameters):
    """z (n, kappa) through planar flows with parameters (n, K, 2 kappa + 1): w, u, b.

    Returns z_K and sum log(1 + (1 - tanh^2) w.u_hat), one example and one flow at a time.
    """
    kappa = z.shape[1]
    transformed, log_det = z.copy(), np.zeros(len(z))
    for i, flows in enumerate(parameters):
        for flow in flows:
            w, u, b = flow[:kappa], flow[kappa:-1], flow[-1]
            allowed = np.log1p((np.e - 1) * np.exp(w @ u)) - 1  # w.u_hat
            u_hat = u + (allowed - w @ u) * w / (w @ w)
            h = np.tanh(w @ transformed[i] + b)
            transformed[i] += u_hat * h
            log_det[i] += np.log(1 + (1 - h**2) * (w @ u_hat))
    return transformed, log_det


def mmd2(a, b):
    """Unbiased squared MMD, inverse multiquadratics of seven scales, by a loop over all pairs."""

    def kernel(p, q):
        squared = ((p - q) ** 2).sum()
        widths = [2 * a.shape[1] * s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10)]
        return sum(width / (width + squared) for width in widths)

    def within(x):
        pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
        return sum(kernel(x[i], x[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(p, q) for p in a for q in b) / (len(a) * len(b))
    return within(a) + within(b) - 2 * between
