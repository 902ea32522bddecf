"""How well can anyone detect, and how near does a network come? Writes docs/limit.md and docs/limit.png.

    python benchmarks/limit.py [run=ws2_mo,ws2_mo_movie] [simulation=limit,train] [images=24] [frames=1,5,9]
                               [dose=130,400,2500] [output=docs] [runs_dir=runs] [seed=0]

run: networks that ship, run ids or model folders; scored on the same images, each at the number of frames it takes.
"""

import sys
import time
from pathlib import Path

import numpy as np

DEFAULTS = {
    "run": "", "simulation": "limit,train", "images": "24", "frames": "1,5,9", "dose": "130,400,2500",
    "output": "docs", "runs_dir": "runs", "seed": "0",
}  # fmt: skip
RADIUS_NM = 0.09  # a detection this close to the true column is right


class Network:
    """A trained model that gives columns for a clip, and its posterior at the study's prevalence."""

    def __init__(self, folder: Path, material, prevalence: dict, prior: np.ndarray, size_px: tuple[int, int]):
        import jax

        from stemdefects.errors import UserError
        from stemdefects.labels.prevalence import state_prior
        from stemdefects.models import artifact
        from stemdefects.models.normalization import normalize_frames

        self.model = model = artifact.load(folder)
        if model.material.state_names != material.state_names:
            raise UserError(f"run={folder}: trained for {model.material.name}, the study shows {material.name}")
        own = state_prior(model.config["labels"], model.material)
        self.shift = model.calibration.log_prior_shift + np.log(prior / own)
        area = size_px[0] * size_px[1] * (1.3 * model.pixel_size_nm) ** 2
        max_peaks = int(area / material.cell_area_nm2 * material.n_sites) + 64
        find = artifact.peak_finder(model.config["model"], model.config["labels"], model.material)

        def predict(clip):
            frames = jax.numpy.moveaxis(normalize_frames(clip), 0, -1)[None]
            return find(jax.tree.map(lambda a: a[0], model.apply(frames)), max_peaks=max_peaks)

        self._predict = jax.jit(predict)
        self.parts = {}

    def look(self, dose: float, number: int, seen, margin_px: float) -> None:
        """Detect in the middle frames of a clip and pair with its truth."""
        import jax

        from stemdefects.training import scores

        first = len(seen.frames) // 2 - self.model.frames // 2
        peaks = jax.tree.map(np.asarray, self._predict(seen.frames[first : first + self.model.frames]))
        matched = scores.pair_image(seen.truth, peaks, RADIUS_NM, number, margin_px)
        height, width = seen.frames.shape[1:]
        keep = ((matched.yx_px >= margin_px) & (matched.yx_px <= np.array([height, width]) - 1 - margin_px)).all(1)
        self.parts.setdefault(dose, []).append(scores.Matched(**{k: v[keep] for k, v in matched.__dict__.items()}))

    def figures(self, dose: float, seen: list, material, kinds) -> dict:
        """Scores per kind beside the observer's, both against the truth, each at its best threshold."""
        from stemdefects.evaluation import detection
        from stemdefects.training import scores

        matched = scores.concatenate(self.parts[dose], material.n_states)
        prob = scores.posterior(matched, material, self.shift, self.model.calibration.temperature)
        columns = scores.kind_columns(material, prob, matched.state)
        best = np.concatenate([s.prob[self.model.frames] for s in seen])
        state = np.concatenate([s.state for s in seen])
        image = np.repeat(np.arange(len(seen)), [len(s.state) for s in seen])
        out = {}
        for kind in kinds:
            index = material.kinds[material.kind_index(kind)].state
            score, truth = columns[kind]
            observer = (best[:, index], state == index, image)
            f1, limit = detection.best_f1(score, truth)[0], detection.best_f1(*observer[:2])[0]
            low, high = detection.ratio_interval((score, truth, matched.image), observer, np.random.default_rng(0))
            out[kind] = {
                "f1": f1, "observer_f1": limit, "ratio": f1 / limit, "ratio_low": low, "ratio_high": high,
                "ap": detection.average_precision(score, truth),
                "own_f1": detection.f1_at(score, truth, self.model.thresholds.get(kind, 0.5)),
            }  # fmt: skip
        out["rmse_nm"] = {
            name: float(np.sqrt((matched.error_nm[(matched.state == i) & matched.found] ** 2).mean()))
            for i, name in enumerate(material.state_names)
            if ((matched.state == i) & matched.found).any()
        }
        return out


def run(options: dict) -> Path:
    """The whole benchmark; returns the page."""
    from stemdefects import config, devices
    from stemdefects.crystal import material as crystal
    from stemdefects.evaluation import page, study
    from stemdefects.models import shipped

    devices.use_compilation_cache()
    material = crystal.load("ws2_mo")
    doses = [float(d) for d in options["dose"].split(",")]
    frames = sorted({int(n) for n in options["frames"].split(",")})
    n_images, size_px = int(options["images"]), (256, 256)
    prior = study.state_prior(material, study.PREVALENCE)
    folders = [shipped.locate(name, options["runs_dir"], key="run") for name in filter(None, options["run"].split(","))]
    start, sections, positions = time.time(), {}, {}
    for name in options["simulation"].split(","):
        cfg = config.load_group("simulation", name)
        networks = [Network(f, material, study.PREVALENCE, prior, size_px) for f in folders]
        networks = {n.model.frames: n for n in networks if n.model.frames in frames}
        seen = {dose: [] for dose in doses}
        watch = study.Study(material, cfg, study.PREVALENCE, frames, size_px)
        clips = watch.run(doses, n_images, int(options["seed"]), progress=name)
        for dose, one in clips:
            for network in networks.values():
                network.look(dose, len(seen[dose]), one, study.MARGIN_PX)
            one.frames = None  # memory: the images have been looked at
            seen[dose].append(one)
        results = {(d, n): study.summary(material, seen[d], n) for d in doses for n in frames}
        scored = {(d, n): net.figures(d, seen[d], material, page.KINDS) for d in doses for n, net in networks.items()}
        sections[name] = (results, scored)
        positions[name] = {d: study.position_bounds_nm(material, seen[d]) for d in doses}
        # after every section, so that a long run leaves something when it is stopped
        path = page.write(Path(options["output"]), sections, positions, facts(options, folders, time.time() - start))
    return path


def facts(options: dict, folders: list[Path], seconds: float) -> dict:
    """What the page says of its own making."""
    own = {k: v for k, v in options.items() if v != DEFAULTS[k] and k not in ("output", "runs_dir", "run")}
    names = [f.parent.name if f.name == "model" else f.name for f in folders]
    shown = ([f"run={','.join(names)}"] if folders else []) + [f"{k}={v}" for k, v in own.items()]
    return {
        "images": options["images"],
        "seconds": round(seconds),
        "command": " ".join(["python benchmarks/limit.py", *shown]),
        "models": ", ".join(f"`{name}`" for name in names),
    }


def main() -> None:
    from stemdefects.errors import UserError

    options = dict(DEFAULTS)
    try:
        for argument in sys.argv[1:]:
            key, _, value = argument.partition("=")
            if key not in options or not value:
                raise UserError(f"'{argument}': options are {', '.join(f'{k}=' for k in options)}")
            options[key] = value
        print(f"written: {run(options)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
