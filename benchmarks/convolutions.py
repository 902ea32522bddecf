"""Where the gradient of a network spends its time on this device: each kind of convolution, forwards and backwards, by
XLA's own gradient and as products of matrices. Writes its part of docs/models.md.

    python benchmarks/convolutions.py [model=unet_small] [size_px=256] [batch=8] [calls=5] [docs=docs/models.md]

CPU ms over all threads, least of `calls`.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import script

ROOT = Path(__file__).resolve().parents[1]
DEFAULTS = {
    "model": "unet_small",
    "size_px": "256",
    "batch": "8",
    "calls": "5",
    "docs": str(ROOT / "docs" / "models.md"),
}
MARKS = "<!-- convolutions: made by benchmarks/convolutions.py -->", "<!-- end of convolutions -->"


def cpu_ms(function: Callable, arguments: tuple, calls: int) -> float:
    """Of the compiled function, least of `calls`."""
    import jax

    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    spent = []
    for _ in range(calls):
        start = time.process_time()
        jax.block_until_ready(compiled(*arguments))
        spent.append(time.process_time() - start)
    return 1000 * min(spent)


def of_kernel_by_products(x, g, side: int):
    """Gradient (side, side, C, D) of a kernel from frames `x` (B, H, W, C) and the gradient `g` (B, H, W, D) of what
    comes out: one product of matrices for each row of the kernel, its columns side by side."""
    import jax.numpy as jnp

    (_, h, w, c), d, pad = x.shape, g.shape[-1], side // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    beside = jnp.concatenate([padded[:, :, i : i + w] for i in range(side)], -1)
    flat = g.reshape(-1, d)
    rows = [beside[:, i : i + h].reshape(-1, side * c).T @ flat for i in range(side)]
    return jnp.stack(rows).reshape(side, side, c, d)


def of_a_level(batch: int, cells: int, c: int, d: int, side: int, calls: int) -> list[float]:
    """CPU ms of a convolution of c to d channels: forwards, gradient of its input, of its kernel, the latter by
    products."""
    import jax
    import numpy as np

    def convolved(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    rng = np.random.default_rng(0)
    shapes = (batch, cells, cells, c), (side, side, c, d), (batch, cells, cells, d)
    x, kernel, g = (jax.device_put(rng.standard_normal(shape).astype(np.float32)) for shape in shapes)

    def of_input(kernel, g):
        return jax.linear_transpose(lambda x: convolved(x, kernel), x)(g)[0]

    def of_kernel(x, g):
        return jax.linear_transpose(lambda kernel: convolved(x, kernel), kernel)(g)[0]

    def by_products(x, g):
        return of_kernel_by_products(x, g, side)

    np.testing.assert_allclose(by_products(x, g), of_kernel(x, g), rtol=1e-3, atol=1e-2 * cells)
    parts = (convolved, (x, kernel)), (of_input, (kernel, g)), (of_kernel, (x, g)), (by_products, (x, g))
    return [cpu_ms(function, arguments, calls) for function, arguments in parts]


def run(options: dict[str, str]) -> list[str]:
    """Lines of the page's block."""
    from stemdefects import config, devices

    devices.keep_memory()  # as train.py does
    model = config.load_group("model", options["model"])
    batch, size, calls = (int(options[name]) for name in ("batch", "size_px", "calls"))
    lines = [
        f"{options['model']}, batch of {batch} images of {size} x {size} px, {devices.describe()}; CPU ms over all "
        f"threads, least of {calls}.",
        "",
        "| convolution | channels | cells | GFLOP | forwards | of its input | of its kernel | the same as products |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for level, filters in enumerate(model.filters):
        cells = size // (model.stem * 2**level)
        for side in (3, 1):
            ms = of_a_level(batch, cells, filters, filters, side, calls)
            gflop = 2 * batch * cells**2 * side**2 * filters**2 / 1e9
            lines.append(
                f"| {side} x {side} | {filters} | {cells} x {cells} | {gflop:.2f} | "
                f"{' | '.join(f'{one:.1f}' for one in ms)} |"
            )
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    lines = run(options)
    shown = [a for a in sys.argv[1:] if not a.startswith("docs=")]
    made = "\n".join([f"`{' '.join(['python benchmarks/convolutions.py', *shown])}`", "", *lines])
    script.fill(Path(options["docs"]), *MARKS, made)


if __name__ == "__main__":
    main()
