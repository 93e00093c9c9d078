"""The face of a dog, with hanging or pricked ears."""

import numpy as np

from innflow.data.image.drawing.canvas import Canvas, ellipse, jitter, mirror, mix, ragged, smooth
from innflow.data.image.drawing.faces import SIDES, Pose, dyed, symmetric

# Fur: base, ears and patches, muzzle and chest.
_COATS = np.array(
    [
        [(0.78, 0.58, 0.33), (0.60, 0.40, 0.20), (0.92, 0.80, 0.60)],
        [(0.38, 0.23, 0.14), (0.22, 0.13, 0.08), (0.55, 0.36, 0.22)],
        [(0.12, 0.11, 0.12), (0.07, 0.06, 0.07), (0.68, 0.43, 0.22)],
        [(0.90, 0.88, 0.84), (0.45, 0.30, 0.20), (0.98, 0.96, 0.93)],
        [(0.62, 0.60, 0.58), (0.25, 0.24, 0.25), (0.88, 0.87, 0.85)],
        [(0.85, 0.72, 0.52), (0.24, 0.19, 0.17), (0.33, 0.26, 0.22)],
    ],
    np.float32,
)


def dog(canvas: Canvas) -> None:
    """Draw the face of a dog with hanging or pricked ears, seen from the front."""
    rng = canvas.rng
    pose = Pose(rng)
    base, dark, light = dyed(_COATS[rng.integers(len(_COATS))], rng)
    canvas.place(rng.uniform(0.52, 0.68), rng.normal(0, 0.14), jitter(rng, 0.08))
    broad = rng.uniform(0.85, 1.1)
    skull = [(0, -0.95), (0.42, -0.88), (0.7, -0.5), (0.72, 0.0), (0.56, 0.5), (0.4, 0.95)]
    face = ragged(symmetric([*skull, (0, 1.12)]) * [broad, 1], rng, 0.01)
    hanging = rng.random() < 0.7
    if hanging:
        length = rng.uniform(0.3, 0.8)
        tip = [(1.0, length), (0.74, length - 0.15)]
        ear = smooth((0.4, -0.86), (0.85, -0.8), (1.15, -0.1), *tip, (0.66, -0.3))
    else:
        ear = smooth((0.75, -0.4), (0.9, -0.95), (0.8, -1.5), (0.45, -1.15), (0.2, -0.8))
    ears = [pose.turn(mirror(ear, side) * [broad, 1], 0.3) for side in SIDES]
    sides = [(0.7, 0.8), (1.2, 1.8), (1.2, 3), (-1.2, 3), (-1.2, 1.8), (-0.7, 0.8)]
    body = ragged(smooth((0, 0.5), *sides), rng, 0.01)

    canvas.cast_shadow(face, *ears, body)
    fur = canvas.fur(90)[..., None]
    coat = np.broadcast_to(base, canvas.image.shape) + 0.02 * canvas.noise(9)[..., None]
    if rng.random() < 0.35:  # a patch over one eye
        reach = np.hypot(canvas.u - rng.choice(SIDES) * 0.4, canvas.v + 0.3)
        coat = mix(coat, dark, np.clip((0.42 - reach) * 8, 0, 1))
    canvas.fill(body, coat * 0.82 + 0.03 * fur)
    canvas.fill(ellipse(0, 1.9, 0.5, 0.8), light, 0.6, blur=0.15)
    canvas.fill(ellipse(0, 1.0, 0.7, 0.35), (0, 0, 0), 0.3, blur=0.12)
    head = canvas.mask(face)
    if not hanging:
        _dog_ears(canvas, ears, dark, fur)
    canvas.paint(head, coat + 0.04 * fur)
    blaze = smooth((-0.08, -0.9), (0.08, -0.9), (0.16, 0.1), (-0.16, 0.1))
    canvas.fill(pose.turn(blaze), light, rng.choice([0.0, 0.8]), blur=0.06)
    for side in SIDES:
        canvas.fill(pose.turn(ellipse(side * 0.34, -0.42, 0.12, 0.08)), light, 0.5, blur=0.04)
    canvas.shade(head, 0.95, 1.2)
    _dog_muzzle(canvas, pose, light, dark)
    if hanging:
        _dog_ears(canvas, ears, dark, fur)
    for side in SIDES:
        x, y = pose.turn([[side * 0.35, -0.2]])[0]
        canvas.fill(ellipse(x, y, 0.16, 0.145), (0.08, 0.05, 0.04), blur=0.015)
        canvas.fill(ellipse(x, y, 0.12, 0.12), (0.28, 0.16, 0.07))
        canvas.fill(ellipse(x, y, 0.075, 0.075), (0.03, 0.02, 0.02))
        glint = ellipse(x + 0.05 * np.sign(canvas.light[0]), y - 0.05, 0.04, 0.035)
        canvas.fill(glint, (1, 1, 1), 0.95)


def _dog_ears(canvas: Canvas, ears: list[np.ndarray], dark: np.ndarray, fur: np.ndarray) -> None:
    for ear in ears:
        canvas.fill(ear * 1.03, (0, 0, 0), 0.35, blur=0.05)
        canvas.fill(ear, dark * 0.95 + 0.04 * fur)


def _dog_muzzle(canvas: Canvas, pose: Pose, light: np.ndarray, dark: np.ndarray) -> None:
    rng = canvas.rng
    snout = symmetric([(0, 0.0), (0.28, 0.12), (0.44, 0.55), (0.3, 0.92), (0, 1.0)])
    shape = pose.turn(snout, 1.3)
    canvas.fill(shape + np.array([0, 0.04]), (0, 0, 0), 0.3, blur=0.07)
    gain = np.clip(1.1 - 0.45 * np.clip(canvas.v - 0.35, 0, 1), 0.5, 1.1)[..., None]
    canvas.fill(shape, np.clip(light * gain, 0, 1), 0.95, blur=0.03)
    if rng.random() < 0.4:
        tongue = smooth((-0.13, 0.82), (0.13, 0.82), (0.15, 1.12), (0, 1.25), (-0.15, 1.12))
        canvas.fill(pose.turn(tongue, 1.3), (0.9, 0.45, 0.48))
    mouth = pose.turn([(-0.3, 0.72), (-0.15, 0.82), (0, 0.74), (0.15, 0.82), (0.3, 0.72)], 1.3)
    canvas.paint(canvas.line(mouth, 0.04), (0.1, 0.06, 0.06), 0.85)
    groove = pose.turn([(0, 0.4), (0, 0.74)], 1.3)
    canvas.paint(canvas.line(groove, 0.03), (0.1, 0.06, 0.06), 0.8)
    nose = smooth((-0.22, 0.22), (0, 0.16), (0.22, 0.22), (0.17, 0.4), (0, 0.48), (-0.17, 0.4))
    canvas.fill(pose.turn(nose, 1.3), (0.06, 0.05, 0.06))
    canvas.fill(pose.turn(ellipse(0, 0.25, 0.1, 0.035), 1.3), (1, 1, 1), 0.5, blur=0.02)
