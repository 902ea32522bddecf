"""A small real network with random weights, frames for it, and the settings at which it calls columns."""

import dataclasses

import numpy as np

from stemdefects import config, schema

LOOSE = ["inference.presence=0.14", "+inference.thresholds.defect=0.05", "inference.exclude_regions=[]"]
SMALL = {"filters": [8, 8], "depths": [1, 1], "stem": 4, "stride": 2, "name": "tiny"}


def hexagonal_frames(n, shape, pixel_nm=0.03, seed=0):
    """(n, *shape) counts of a hexagonal lattice of WS2's constant: three cosines and shot noise (seed None: none)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel_nm
    angles = np.radians([13, 73, 133])
    waves = [np.cos(2 * np.pi / 0.27306 * (y * np.sin(a) + x * np.cos(a))) for a in angles]
    mean = np.broadcast_to(3 * np.exp(np.sum(waves, 0)), (n, *shape))
    return (mean if seed is None else rng.poisson(mean)).astype(np.float32)


def save_model(folder, n_frames=1, seeds=(3,)):
    """A small network with random weights as a model folder; of several seeds: an ensemble."""
    import jax

    from stemdefects.crystal import material as crystal
    from stemdefects.models import architecture, artifact

    material = config.load_group("material", "ws2_mo")
    model = dataclasses.replace(config.load_group("model", "unet_small"), **SMALL, frames=n_frames)
    network = architecture.build(model, crystal.from_config(material))
    side = architecture.divisor(model)
    members = [network.init(jax.random.key(seed), np.zeros((1, side, side, n_frames), np.float32)) for seed in seeds]
    params = jax.device_get(members[0] if len(seeds) == 1 else jax.tree.map(lambda *a: np.stack(a), *members))
    training = dataclasses.replace(config.load_group("training", "quick"), ensemble=len(seeds))
    n_states = len(material.states)
    artifact.save(
        folder,
        artifact.Contents(
            params=params,
            sections=artifact.Sections(
                model,
                material,
                config.load_group("simulation", "train"),
                config.load_group("labels", "simulated"),
                training,
            ),
            calibration=artifact.Calibration(np.zeros(n_states, np.float32), 1.0, {"defect": 0.05}),
            confusion={},
            record={},
            card="tiny",
        ),
    )
    return folder


def settings(model_dir, movie_file, tmp_path, **changes):
    inference = dataclasses.replace(
        config.load_group("inference", "default"),
        model=str(model_dir),
        block_frames=3,
        batch_size=2,
        presence=0.14,
        thresholds={"defect": 0.05},
        exclude_regions=[],
        **changes,
    )
    logging = schema.LoggingConfig(name="disabled", mode="disabled")
    root = schema.InferRoot(input=str(movie_file), inference=inference, logging=logging)
    return dataclasses.replace(root, runs_dir=str(tmp_path / "runs"))
