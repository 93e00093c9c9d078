"""Beach balls and flowers."""

import numpy as np

from innflow.data.image.drawing.canvas import Canvas, ellipse, hue, jitter, mirror, smooth


def beachball(canvas: Canvas) -> None:
    """Draw an inflated ball of coloured gores, turned any way, with a gloss."""
    rng = canvas.rng
    canvas.place(rng.uniform(0.55, 0.85), 0.0, jitter(rng))
    toward = np.sqrt(np.clip(1 - canvas.u**2 - canvas.v**2, 0, 1))
    normal = np.stack([canvas.u, canvas.v, toward], axis=-1)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0].astype(np.float32)
    x, y, z = np.moveaxis(normal @ turn, -1, 0)
    gores = int(rng.choice([6, 8]))
    colours = [hue(rng, (0.7, 0.95), (0.6, 1.0)) for _ in range(gores)]
    if rng.random() < 0.6:
        colours[::2] = [np.array([0.96, 0.96, 0.94], np.float32)] * (gores // 2)
    around = (np.arctan2(y, x) / (2 * np.pi) + 0.5) * gores
    skin = np.array(colours)[around.astype(int) % gores]
    seam = np.minimum(around % 1, 1 - around % 1) * np.hypot(x, y) < 0.03
    skin = np.where(seam[..., None], skin * 0.7, skin)
    skin = np.where((np.abs(z) > 0.955)[..., None], hue(rng, (0.0, 0.9), (0.8, 1.0)), skin)

    outline = ellipse(0, 0, 1, 1, 96)
    canvas.cast_shadow(outline)
    lit = np.clip(normal @ canvas.light, 0, 1)[..., None]
    halfway = canvas.light + np.array([0, 0, 1], np.float32)
    gloss = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1)[..., None]
    skin = skin * (0.42 + 0.68 * lit) + rng.uniform(0.2, 0.6) * gloss**60
    canvas.fill(outline, np.clip(skin, 0, 1))


def flower(canvas: Canvas) -> None:
    """Draw a flower head of one or two rings of petals, with a stem and leaves."""
    rng = canvas.rng
    shift = jitter(rng, -0.12)
    canvas.place(rng.uniform(0.5, 0.72), rng.normal(0, 0.2), shift)
    count = int(rng.choice([5, 6, 8, 12, 18]))
    colour = hue(rng, (0.25, 0.9), (0.75, 1.0))
    if colour[1] > 0.95 * max(colour[0], colour[2]):  # a green one looks like leaves
        colour = colour[[1, 0, 2]]
    if rng.random() < 0.25:
        colour = np.array([0.97, 0.96, 0.95], np.float32)
    heart = np.array([(0.93, 0.74, 0.16), (0.32, 0.2, 0.1)], np.float32)[int(rng.random() < 0.3)]
    width, pointed = rng.uniform(0.75, 1.15) * 2.6 / count + 0.05, rng.uniform(0.3, 1.0)
    edge = [(0.1, 0.04), (0.55, width / 2), (0.85, width / 2 * pointed)]
    petal = smooth(*((x, -y) for x, y in edge), (1, 0), *edge[::-1])

    green = np.array([0.25, 0.5, 0.18], np.float32) * rng.uniform(0.7, 1.2)
    bend = rng.uniform(-0.3, 0.3)
    t = np.linspace(0, 1, 12)[:, None]
    stem = canvas.line(t * [0, 3.0] + t**2 * [bend, 0], rng.uniform(0.07, 0.12))
    leaves = [
        mirror(smooth((0, low), (0.5, low - 0.5), (1.1, low - 0.55), (0.7, low - 0.1)), side)
        for side, low in ((-1, 1.5), (1, 1.9))
    ]
    tilt = np.array([1, rng.uniform(0.75, 1.0)])
    rings = [(1.0, 0.0, 0.88), (0.72, 0.5, 1.0)] if rng.random() < 0.5 else [(1.0, 0.0, 1.0)]
    start = rng.uniform(0, 2 * np.pi)
    petals = [
        (_rotated(petal * size, start + (i + offset) * 2 * np.pi / count) * tilt, tone)
        for size, offset, tone in rings
        for i in range(count)
    ]
    canvas.cast_shadow(*(points for points, _ in petals))
    canvas.paint(stem, green)
    canvas.paint(canvas.mask(*leaves), (green * 1.1) * (1 + 0.1 * canvas.noise(20))[..., None])
    reach = np.hypot(canvas.u, canvas.v / float(tilt[1]))
    veins = 1 + 0.05 * canvas.fur(140, 3)
    gain = (np.clip(0.62 + 0.45 * reach, 0, 1.05) * veins)[..., None]
    skin = np.clip(colour * gain, 0, 1)
    for points, tone in petals:
        canvas.fill(points * 1.03, (0, 0, 0), 0.22, blur=0.03)
        petal_mask = canvas.mask(points)
        canvas.paint(petal_mask, skin)
        canvas.paint(petal_mask, (0, 0, 0), 1 - tone * rng.uniform(0.9, 1.0))
    disc = canvas.mask(ellipse(0, 0, *(rng.uniform(0.2, 0.34) * tilt)))
    canvas.paint(canvas.blurred(disc, 0.05), (0, 0, 0), 0.3)
    tone = 1 + 0.22 * canvas.noise(64) - 0.5 * (reach - 0.15)
    canvas.paint(disc, np.clip(heart * tone[..., None], 0, 1))
    canvas.shade(canvas.mask(*(points for points, _ in petals)), 1.6, 1.6, 0.3)


def _rotated(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])
