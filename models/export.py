"""Models of images as TensorFlow SavedModels, for TensorFlow Serving.

The two-stage VAE's signatures, with h, w, c and kappa fixed by the model and the batch size b free:

- ``serving_default``, the same as ``generate``: ``n`` int32 scalar, ``seed`` int64 scalar ->
  ``images`` uint8 ``(n, h, w, c)``, both stages: u ~ N(0, I), z = z_hat(u) + gamma_z * eps,
  x = x_hat(z). The same seed gives the same images, a negative one fresh ones;
- ``generate_first_stage``: likewise by z ~ N(0, I), x = x_hat(z);
- ``decode``: ``u`` float32 ``(b, kappa)`` -> ``images`` uint8, by the mean of z given u;
- ``decode_z``: ``z`` float32 ``(b, kappa)`` -> ``images`` uint8;
- ``encode``: ``images`` uint8 ``(b, h, w, c)`` -> ``mu_z``, ``sd_z``, ``u`` (the mean of u given
  mu_z), each float32 ``(b, kappa)``;
- ``reconstruct``: ``images`` uint8 -> ``images`` uint8, by the mean of z.

A single VAE has, with z in the place of u:

- ``serving_default``, the same as ``generate``: as ``sample(n, seed)`` draws them;
- ``decode``: ``z`` -> ``images``;
- ``encode``: ``images`` -> ``mu_z``, ``sd_z``; of VAE + Flow before the flows, of WAE-MMD sd is 0;
- ``reconstruct``: by the mean (of VAE + Flow: the mean sent through the flows).

In the fused joint model z is the latent variable of the whole, which the paper calls u.

A request that can't be served fails with INVALID_ARGUMENT and a sentence. The graphs hold
TensorFlow's own operations only: neither Keras nor this project is needed to load them.
"""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import keras
import numpy as np

from experiments.files import sync
from models.two_stage import TwoStageVAE
from models.vae import MAX_IMAGES, PREDICT_BATCH
from models.warmup import write_warmup

WARMUP_BATCH = 2
SEED_PERIOD = 2**31 - 2  # keras.random takes seeds modulo this on TensorFlow
SIGNATURES = ("generate", "generate_first_stage", "decode", "decode_z", "encode", "reconstruct")
SAVED_MODEL_PARTS = {"saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra"}


# --- what a request must be -----------------------------------------------------------------------


def require(condition, template: str, value) -> None:
    """Fails the request unless ``condition``; ``template`` is a sentence with ``{}`` for value.

    What runs beside a failing check may fail too and be reported in its place, or ask for all
    memory first. So the checks below hand on something small and valid in the place of what is
    wrong.
    """
    import tensorflow as tf

    tf.debugging.Assert(condition, [tf.strings.format(template, value, summarize=-1)])


def checked_count(n, limit: int):
    """``n``, a scalar from 1 to ``limit``."""
    import tensorflow as tf

    right = (n >= 1) & (n <= limit)
    require(right, f"n must be from 1 to {limit} in one request, got {{}}.", n)
    return tf.where(right, n, 1)


def checked_batch(batch, name: str, shape: tuple[int, ...], limit: int):
    """``batch``, ``(b, *shape)`` with b from 1 to ``limit``, its floats finite."""
    import tensorflow as tf

    # From the tensor's own shape, padded to be compared: tf.rank would be what the signature says,
    # but a server feeds whatever it is sent.
    actual = tf.shape(batch)
    rest = tf.concat([actual[1:], [-1] * (len(shape) + 1)], 0)[: len(shape) + 1]
    b = tf.reduce_prod(actual[:1])
    right = tf.reduce_all(tf.equal(rest, (*shape, -1))) & (b >= 1) & (b <= limit)
    expected = f"(b, {', '.join(map(str, shape))}) with b from 1 to {limit}"
    require(right, f"{name} must have shape {expected}, got {{}}.", actual)
    batch = tf.cond(
        right,
        lambda: tf.ensure_shape(batch, (None, *shape)),
        lambda: tf.zeros((1, *shape), batch.dtype),
    )
    if batch.dtype.is_floating:
        bad = tf.math.count_nonzero(~tf.math.is_finite(batch))
        sentence = f"{name} must be finite, got {{}} values that are infinite or NaN."
        require(tf.equal(bad, 0), sentence, bad)
    return batch


# --- what is computed -----------------------------------------------------------------------------


def to_uint8(x_hat):
    """x_hat in [0, 1] as the nearest of the 256 levels."""
    import tensorflow as tf

    return tf.cast(tf.round(tf.clip_by_value(x_hat, 0.0, 1.0) * 255.0), tf.uint8)


def seeded_normal(rows, dim: int, seed):
    """``(rows, dim)`` draws from N(0, I), :func:`models.vae.standard_normal`'s for the same seed.

    A negative seed is replaced by a fresh one at every call.
    """
    import tensorflow as tf

    # The operation itself, with its two seeds 0: whatever global seed was set when the model was
    # exported, a server that starts again doesn't repeat what it drew before.
    fresh = tf.raw_ops.RandomUniformInt(
        shape=tf.constant([], tf.int32),
        minval=tf.constant(0, tf.int64),
        maxval=tf.constant(SEED_PERIOD, tf.int64),
        seed=0,
        seed2=0,
    )
    seed = tf.where(seed < 0, fresh, seed % SEED_PERIOD)
    shape = tf.stack([rows, dim])
    return tf.random.stateless_normal(shape, seed=tf.stack([seed, tf.zeros_like(seed)]))


def in_pieces(function, *inputs, size: int = PREDICT_BATCH) -> dict:
    """``function(*inputs)``, a dict of tensors, ``size`` examples at a time.

    Memory is bounded by a piece, not by the request. As the pieces are those of
    :func:`models.vae.predict`, rounding errors are the same and so are the results, to the bit.
    """
    import tensorflow as tf

    piece = tf.function(function)
    specs = [tf.TensorSpec((None, *x.shape[1:]), x.dtype) for x in inputs]
    outputs = piece.get_concrete_function(*specs).structured_outputs
    n = tf.shape(inputs[0])[0]
    count = (n + size - 1) // size

    def step(i, made):
        results = piece(*(x[i * size : (i + 1) * size] for x in inputs))
        return i + 1, {name: made[name].write(i, results[name]) for name in made}

    made = {
        name: tf.TensorArray(spec.dtype, count, element_shape=spec.shape, infer_shape=False)
        for name, spec in outputs.items()
    }
    _, made = tf.while_loop(lambda i, _: i < count, step, (0, made), parallel_iterations=1)
    return {name: array.concat() for name, array in made.items()}


def drawing(compute, noises: int, dim: int, max_images: int):
    """The signature ``n``, ``seed`` -> ``compute`` of ``noises`` draws ``(n, dim)`` of N(0, I)."""
    import tensorflow as tf

    def generate(n, seed):
        n = checked_count(n, max_images)
        noise = seeded_normal(noises * n, dim, seed)
        return in_pieces(compute, *(noise[i * n : (i + 1) * n] for i in range(noises)))

    specs = [tf.TensorSpec((), tf.int32, name="n"), tf.TensorSpec((), tf.int64, name="seed")]
    return tf.function(generate, input_signature=specs)


def answering(compute, spec, max_images: int):
    """The signature of one batch, a ``spec`` with the name of ``compute``'s argument."""
    import tensorflow as tf

    @functools.wraps(compute)  # the name that callers give the batch is part of the signature
    def answer(batch):
        batch = checked_batch(batch, spec.name, tuple(spec.shape[1:]), max_images)
        return in_pieces(compute, batch)

    return tf.function(answer, input_signature=[spec])


def specs_of(vae):
    """What requests send: images of ``vae``, and by name latent vectors."""
    import tensorflow as tf

    pixels = tf.TensorSpec((None, *vae.encoder.input_shape[1:]), tf.uint8, name="images")
    return pixels, functools.partial(tf.TensorSpec, (None, vae.latent_dim), tf.float32)


def served_vae(vae, max_images: int = MAX_IMAGES):
    """A ``tf.Module`` with one function a signature on the variables of ``vae``.

    Args:
        vae: :class:`models.VAE` or a baseline, TensorFlow backend.
        max_images: most images in one request, made or sent.
    """
    import tensorflow as tf

    def pixels_of(z):
        return {"images": to_uint8(vae.decoder(z, training=False))}

    def sampled(*noises):
        return pixels_of(vae.prior_draw(*noises))

    def encoded(images):
        mu_z, sd_z, _ = vae.code(vae.scale(images))
        return {"mu_z": mu_z, "sd_z": sd_z}

    def reconstructed(images):
        return pixels_of(vae.code(vae.scale(images))[-1])

    pixels, latents = specs_of(vae)
    module = tf.Module()
    module.networks = [v.value for v in vae.variables]
    module.generate = drawing(sampled, vae.NOISES, vae.latent_dim, max_images)
    module.decode = answering(pixels_of, latents("z"), max_images)
    module.encode = answering(encoded, pixels, max_images)
    module.reconstruct = answering(reconstructed, pixels, max_images)
    return module


def served(model, max_images: int = MAX_IMAGES):
    """Likewise of both stages: the first one's, and those that the second has a part in.

    Args:
        model: TwoStageVAE, TensorFlow backend.
        max_images: most images in one request, made or sent.
    """
    first, second, gamma_z = model.first, model.second, model.second.gamma

    def pixels_of(z):
        return {"images": to_uint8(first.decoder(z, training=False))}

    def pixels_by_both(u):
        return pixels_of(second.decoder(u, training=False))

    def sampled(u, eps):
        return pixels_of(second.decoder(u, training=False) + gamma_z * eps)

    def encoded(images):
        mu_z, sd_z = first.encoder(first.scale(images), training=False)
        mu_u, _ = second.encoder(mu_z, training=False)
        return {"mu_z": mu_z, "sd_z": sd_z, "u": mu_u}

    pixels, latents = specs_of(first)
    module = served_vae(first, max_images)
    parts = (first.encoder, first.decoder, second.encoder, second.decoder)
    module.networks = [[v.value for v in part.variables] for part in parts]
    module.generate_first_stage, module.decode_z = module.generate, module.decode
    module.generate = drawing(sampled, 2, first.latent_dim, max_images)
    module.decode = answering(pixels_by_both, latents("u"), max_images)
    module.encode = answering(encoded, pixels, max_images)
    return module


def signatures(module) -> dict:
    """Signature names and their functions, of what :func:`served` or :func:`served_vae` returns."""
    made = {name: getattr(module, name) for name in SIGNATURES if hasattr(module, name)}
    return {"serving_default": module.generate, **made}


def warmup_requests(functions: dict, batch: int = WARMUP_BATCH) -> list:
    """One small valid request for each signature: ``(signature, inputs)``."""
    scalars = {"n": batch, "seed": 0}
    requests = []
    for signature, function in functions.items():
        inputs = {}
        for spec in function.input_signature:
            dtype = spec.dtype.as_numpy_dtype
            if spec.name in scalars:
                inputs[spec.name] = np.array(scalars[spec.name], dtype)
            else:
                inputs[spec.name] = np.zeros((batch, *spec.shape[1:]), dtype)
        requests.append((signature, inputs))
    return requests


# --- files ----------------------------------------------------------------------------------------


def save(module, functions: dict, folder, max_images: int = MAX_IMAGES) -> None:
    """Writes a module, its signatures and their warm-up requests as a SavedModel, whole or not.

    TensorFlow Serving watches for folders whose names are numbers, and must not find half a model:
    the new one is made, and an earlier one removed, under names that it passes over. What is
    interrupted leaves the earlier model, but between two renames, where the next call restores it.

    Raises:
        FileExistsError: if ``folder`` holds anything but an earlier SavedModel, which is replaced.
        OSError: if it can't be written; an earlier model stays.
    """
    import tensorflow as tf

    folder = Path(folder)
    if folder.exists():
        others = sorted({entry.name for entry in folder.iterdir()} - SAVED_MODEL_PARTS)
        if others:
            raise FileExistsError(
                f"A SavedModel needs a folder of its own, {folder} holds {', '.join(others[:3])}: "
                f"export into {folder / 'saved_model' / '1'}, say."
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, earlier = aside(folder)
    tidy(folder)
    try:
        tf.saved_model.save(module, str(unfinished), signatures=functions)
        write_warmup(unfinished, warmup_requests(functions, min(WARMUP_BATCH, max_images)))
        for path in unfinished.rglob("*"):
            if path.is_file():
                sync(path)  # or a power cut may leave the new name with no content
        if folder.exists():
            os.replace(folder, earlier)
        os.replace(unfinished, folder)
    finally:
        tidy(folder)


def aside(folder: Path) -> tuple[Path, Path]:
    """Where a SavedModel lies until it is whole, and where an earlier one until it is removed."""
    return folder.with_name(f".{folder.name}.unfinished"), folder.with_name(f".{folder.name}.old")


def tidy(folder: Path) -> None:
    """Removes what an export left aside, killed or not; an earlier model nothing replaced returns.

    The names are always the same, so that one who exports again needn't wait to be sure that
    nobody is at work there; two at a time can't export into one folder.
    """
    unfinished, earlier = aside(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(earlier, ignore_errors=True)
    elif earlier.exists():
        os.replace(earlier, folder)


def check_export(vae, max_images: int) -> None:
    """What can't be exported.

    Raises:
        ValueError: if max_images is below 1, ``vae`` is not a model of images, or Keras's backend
            is not TensorFlow's.
    """
    if max_images < 1:
        raise ValueError(f"max_images must be at least 1, got {max_images}.")
    shape = vae.encoder.input_shape
    if len(shape) != 4:
        raise ValueError(
            f"a SavedModel takes and gives images as bytes, this model's data are of shape "
            f"{shape[1:]}: export a model of images."
        )
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"a SavedModel needs Keras's TensorFlow backend, this is {keras.backend.backend()}: "
            "save the model, then load and export it with KERAS_BACKEND=tensorflow."
        )


def export_saved_model(model, folder, max_images: int = MAX_IMAGES) -> None:
    """Writes ``model`` as a SavedModel into ``folder``.

    TensorFlow Serving expects a version number below the model's name: ``.../saved_model/1``.

    Args:
        model: TwoStageVAE, :class:`models.VAE` or a baseline, TensorFlow backend.
        folder: replaced if it holds an earlier SavedModel.
        max_images: most images in one request, made or sent.

    Raises:
        FileExistsError: if ``folder`` holds anything else.
        ValueError: if max_images is below 1, the model is not one of images, or on another Keras
            backend than TensorFlow's.
    """
    two_stages = isinstance(model, TwoStageVAE)
    check_export(model.first if two_stages else model, max_images)
    module = (served if two_stages else served_vae)(model, max_images)
    save(module, signatures(module), folder, max_images)
