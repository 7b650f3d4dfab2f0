"""The DCGAN of TensorFlow's own tutorial, in Keras under `tf.function`. See `convention.py`.

https://www.tensorflow.org/tutorials/generative/dcgan, which is for MNIST: nothing had to be changed. Building the graph, in the
first step, is part of the minutes.
"""

from __future__ import annotations

import os
import time
from typing import Any

import convention
import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf

RECIPE = "tensorflow.org/tutorials/generative/dcgan: Adam 1e-4, batch 256, 100 latents, dropout .3, 5x5 kernels"
LATENT, BATCH = 100, 256


def networks() -> tuple[Any, Any]:
    layers = tf.keras.layers

    def up(width: int, stride: int, **settings: Any) -> Any:
        return layers.Conv2DTranspose(width, 5, strides=stride, padding="same", use_bias=False, **settings)

    generator = tf.keras.Sequential(
        [
            tf.keras.Input((LATENT,)),
            layers.Dense(7 * 7 * 256, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Reshape((7, 7, 256)),
            up(128, 1),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            up(64, 2),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            up(1, 2, activation="tanh"),
        ]
    )
    discriminator = tf.keras.Sequential(
        [
            tf.keras.Input((28, 28, 1)),
            layers.Conv2D(64, 5, strides=2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Conv2D(128, 5, strides=2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    return generator, discriminator


def main() -> None:
    task = convention.asked(__doc__)
    tf.config.threading.set_intra_op_parallelism_threads(convention.threads())
    tf.config.threading.set_inter_op_parallelism_threads(convention.threads())
    tf.keras.utils.set_random_seed(task.seed)
    pixels = (task.train.astype(np.float32) - 127.5) / 127.5
    g, d = networks()
    opt_g, opt_d = tf.keras.optimizers.Adam(1e-4), tf.keras.optimizers.Adam(1e-4)
    loss = tf.keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(real: Any) -> None:
        with tf.GradientTape() as tape_g, tf.GradientTape() as tape_d:
            fake = g(tf.random.normal([BATCH, LATENT]), training=True)
            on_real, on_fake = d(real, training=True), d(fake, training=True)
            loss_g = loss(tf.ones_like(on_fake), on_fake)
            loss_d = loss(tf.ones_like(on_real), on_real) + loss(tf.zeros_like(on_fake), on_fake)
        for optimiser, tape, value, network in ((opt_g, tape_g, loss_g, g), (opt_d, tape_d, loss_d, d)):
            weights = network.trainable_variables
            optimiser.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))

    seen, clock = 0, task.clock()
    for rows in task.batches(BATCH):
        step(tf.constant(pixels[rows]))
        seen += BATCH
        if clock.over:
            break
    d.trainable_variables[0].numpy()  # waits
    seconds, began = clock.seconds, time.monotonic()
    parts = [g(tf.random.normal([BATCH, LATENT]), training=False).numpy() for _ in range(-(-task.count // BATCH))]
    images = np.rint(np.concatenate(parts)[: task.count] * 127.5 + 127.5).clip(0, 255).astype(np.uint8)
    convention.answer(
        task,
        images=images,
        images_seen=seen,
        seconds=seconds,
        recipe=RECIPE,
        drawing=time.monotonic() - began,
        parameters=int(sum(np.prod(weight.shape) for network in (g, d) for weight in network.trainable_variables)),
        packages=("tensorflow-cpu", "keras"),
    )


if __name__ == "__main__":
    main()
