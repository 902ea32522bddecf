"""Figures of a lattice image that can be compared between a real and a simulated frame."""

import numpy as np


def frame_statistics(image: np.ndarray, pixel_size_nm: float, a_nm: float, angle_rad: float | None = None) -> dict:
    """Lattice and noise variance and Bragg powers of one frame (H, W) of a hexagonal crystal.

    `angle_rad` is the direction of a1 from the x axis; without it the strongest first-order direction is taken.
    Returns `lattice_over_noise` (variance of the periodic part, first three orders, over that of the white part),
    `ratio_110_100` (power of the second over the first order) and `background_rms` (relative rms of what varies over
    more than 1.5 nm). Peak powers are sums over a few pixels above the local background.
    """
    image = np.asarray(image, float)
    height, width = image.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None, :]
    window /= np.sqrt((window**2).mean())
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2 / image.size**2
    fy = np.fft.fftfreq(height) / pixel_size_nm
    fx = np.fft.fftfreq(width) / pixel_size_nm
    radius = np.hypot(fy[:, None], fx[None, :])
    first = 2.0 / np.sqrt(3.0) / a_nm  # 1 / d(100)
    noise_per_bin = power[(radius > 3.3 * first) & (radius < 3.9 * first)].mean()  # between the orders
    if angle_rad is None:
        angles = np.deg2rad(np.arange(0, 60, 0.25))
        sums = [_order(power, fy, fx, first, a, noise_per_bin) for a in angles]
        direction = angles[int(np.argmax(sums))]
    else:
        direction = angle_rad + np.pi / 6
    orders = {
        "100": _order(power, fy, fx, first, direction, noise_per_bin),
        "110": _order(power, fy, fx, first * np.sqrt(3.0), direction + np.pi / 6, noise_per_bin),
        "200": _order(power, fy, fx, first * 2.0, direction, noise_per_bin),
    }
    noise = noise_per_bin * image.size
    slow = (radius > 0) & (radius < 1 / 1.5)
    background = max(power[slow].sum() - noise_per_bin * slow.sum(), 0.0)
    return {
        "lattice_over_noise": sum(orders.values()) / noise,
        "ratio_110_100": orders["110"] / orders["100"],
        "background_rms": float(np.sqrt(background) / image.mean()),
        "mean": float(image.mean()),
        "noise_variance": float(noise),
    }


def _order(power, fy, fx, length, direction, noise_per_bin) -> float:
    """Power of the six peaks at distance `length` (1/nm) from `direction` on, the noise taken off."""
    total = 0.0
    for turn in range(6):
        angle = direction + turn * np.pi / 3
        y, x = length * np.sin(angle), length * np.cos(angle)
        if abs(y) >= abs(fy).max() or abs(x) >= abs(fx).max():
            continue
        row, column = int(np.argmin(np.abs(fy - y))), int(np.argmin(np.abs(fx - x)))
        rows = np.arange(row - 4, row + 5) % len(fy)
        columns = np.arange(column - 4, column + 5) % len(fx)
        total += float((power[np.ix_(rows, columns)] - noise_per_bin).sum())
    return max(total, 0.0)
