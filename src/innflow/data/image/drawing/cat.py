"""The face of a cat, of any of nine coats."""

import numpy as np
from PIL.ImageChops import darker

from innflow.data.image.drawing.canvas import Canvas, ellipse, jitter, mirror, mix, ragged, smooth
from innflow.data.image.drawing.faces import SIDES, Pose, dyed, symmetric

# Fur: base, markings, muzzle and chest.
_COATS = np.array(
    [
        [(0.16, 0.15, 0.16), (0.09, 0.08, 0.09), (0.22, 0.21, 0.21)],
        [(0.52, 0.52, 0.54), (0.24, 0.23, 0.24), (0.80, 0.79, 0.78)],
        [(0.44, 0.48, 0.54), (0.33, 0.36, 0.42), (0.55, 0.58, 0.63)],
        [(0.85, 0.55, 0.27), (0.66, 0.34, 0.12), (0.97, 0.87, 0.74)],
        [(0.92, 0.80, 0.62), (0.78, 0.60, 0.40), (0.99, 0.95, 0.88)],
        [(0.93, 0.92, 0.90), (0.70, 0.68, 0.66), (0.99, 0.98, 0.97)],
        [(0.50, 0.39, 0.28), (0.20, 0.14, 0.10), (0.86, 0.78, 0.66)],
        [(0.87, 0.81, 0.71), (0.28, 0.20, 0.16), (0.80, 0.72, 0.62)],
        [(0.20, 0.16, 0.14), (0.74, 0.42, 0.18), (0.90, 0.85, 0.80)],
    ],
    np.float32,
)
_IRISES = np.array(
    [(0.8, 0.62, 0.12), (0.55, 0.7, 0.22), (0.35, 0.6, 0.42), (0.4, 0.65, 0.86), (0.76, 0.42, 0.1)]
)


def cat(canvas: Canvas) -> None:
    """Draw the face of a cat, seen from the front or a little from the side."""
    rng = canvas.rng
    pose = Pose(rng)
    kind = int(rng.integers(len(_COATS)))
    base, dark, light = dyed(_COATS[kind], rng)
    canvas.place(rng.uniform(0.52, 0.68), rng.normal(0, 0.14), jitter(rng, 0.12))

    skull = [(0, -0.86), (0.45, -0.82), (0.8, -0.5), (1.0, 0.02), (0.93, 0.42), (0.55, 0.78)]
    face = ragged(symmetric([*skull, (0, 0.9 + rng.uniform(-0.06, 0.06))]), rng, 0.012)
    high, wide = rng.uniform(-1.55, -1.25), rng.uniform(0.72, 0.98)
    ear = smooth((0.98, -0.2), (wide + 0.08, -0.85), (wide, high), (0.52, -1.08), (0.14, -0.72))
    inner = smooth((0.8, -0.5), (wide, -0.85), (wide - 0.03, high + 0.22), (0.5, -0.85))
    ears = [pose.turn(mirror(ear, side), 0.3) for side in SIDES]
    sides = [(0.75, 0.7), (1.25, 1.7), (1.2, 3), (-1.2, 3), (-1.25, 1.7), (-0.75, 0.7)]
    body = ragged(smooth((0, 0.5), *sides), rng, 0.01)

    canvas.cast_shadow(face, *ears, body)
    coat = _cat_coat(canvas, kind, base, dark)
    fur = canvas.fur()[..., None]
    canvas.fill(body, coat * 0.82 + 0.03 * fur)
    chest = smooth((-0.4, 0.7), (0.4, 0.7), (0.45, 1.6), (0, 2.2), (-0.45, 1.6))
    canvas.fill(chest, light * 0.9, rng.choice([0.2, 0.9]), blur=0.12)
    canvas.fill(ellipse(0, 0.85, 0.85, 0.3), (0, 0, 0), 0.3, blur=0.12)

    points = dark if kind == 7 else base
    pink = np.array([0.86, 0.60, 0.56], np.float32) * rng.uniform(0.75, 1.05)
    for side, outline in zip(SIDES, ears, strict=True):
        canvas.fill(outline, points * 0.92 + 0.04 * fur)
        canvas.fill(pose.turn(mirror(inner, side), 0.3), pink * 0.6 + points * 0.4, blur=0.05)
        tuft = mirror(smooth((0.3, -0.66), (0.5, -1.0), (0.62, -0.6)), side)
        canvas.fill(pose.turn(tuft, 0.3), light, 0.55, blur=0.06)

    head = canvas.mask(face)
    canvas.paint(head, coat + 0.045 * fur)
    if kind in (1, 3, 4, 6, 8):
        _stripes(canvas, pose, dark)
    _muzzle(canvas, pose, light)
    canvas.shade(head, 1.12, 1.02)
    _cat_eyes(canvas, pose, kind)
    _cat_nose(canvas, pose, pink if rng.random() < 0.6 else dark * 0.7)
    _whiskers(canvas, pose)


def _cat_coat(canvas: Canvas, kind: int, base: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Return the colour of the fur at every pixel (H, W, 3)."""
    rng = canvas.rng
    coat = np.broadcast_to(base, canvas.image.shape)
    if kind == 7:  # Siamese: dark towards the nose
        reach = np.hypot(canvas.u, canvas.v - 0.25)
        coat = mix(coat, dark, np.clip(1.25 - 1.5 * reach, 0, 0.9))
    elif kind == 8:  # tortoiseshell
        coat = mix(coat, dark, np.clip(2.5 * canvas.noise(7), 0, 1))
    if kind != 7 and rng.random() < 0.35:  # white blaze and bib
        width = rng.uniform(0.08, 0.3) + 0.45 * np.clip(canvas.v + 0.2, 0, 1.2)
        blaze = np.clip((width - np.abs(canvas.u - rng.normal(0, 0.06))) * 9, 0, 1)
        top = np.clip((canvas.v - rng.uniform(-1.0, -0.4) - 0.8 * np.abs(canvas.u)) * 5, 0, 1)
        coat = mix(coat, np.array([0.96, 0.95, 0.93], np.float32), blaze * top)
    return coat + 0.02 * canvas.noise(9)[..., None]


def _stripes(canvas: Canvas, pose: Pose, dark: np.ndarray) -> None:
    rng = canvas.rng
    strength = rng.uniform(0.45, 0.9)
    marks = [smooth((-0.05, -0.86), (0.06, -0.86), (0.03, -0.42), (-0.03, -0.42))]
    for side in SIDES:
        for x in (0.22, 0.42):
            end = (x * 0.75 + 0.06, -0.4 + rng.uniform(-0.04, 0.04))
            mark = smooth((x, -0.84), (x + 0.1, -0.8), end, (x * 0.72, -0.45))
            marks.append(mirror(mark, side))
        for y in (0.05, 0.28):
            mark = smooth((0.98, y - 0.08), (0.99, y + 0.05), (0.56, y + 0.12), (0.58, y + 0.06))
            marks.append(mirror(mark, side))
    canvas.paint(canvas.mask(*(pose.turn(mark) for mark in marks), blur=0.02), dark, strength)


def _muzzle(canvas: Canvas, pose: Pose, light: np.ndarray) -> None:
    shapes = [pose.turn(ellipse(side * 0.2, 0.5, 0.29, 0.23)) for side in SIDES]
    chin = pose.turn(ellipse(0, 0.72, 0.2, 0.14))
    canvas.paint(canvas.mask(*shapes, chin, blur=0.035), light, 0.85)
    lines = [[(0.0, 0.4), (0.0, 0.54)]]
    lines += [[(0.0, 0.54), (side * 0.12, 0.62), (side * 0.27, 0.58)] for side in SIDES]
    for line in lines:
        canvas.paint(canvas.line(pose.turn(line), 0.03), (0.2, 0.1, 0.1), 0.7)


def _cat_eyes(canvas: Canvas, pose: Pose, kind: int) -> None:
    rng = canvas.rng
    iris = _IRISES[3 if kind == 7 else rng.integers(len(_IRISES))] * rng.uniform(0.8, 1.1)
    size, opening, slit = rng.uniform(0.23, 0.29), rng.uniform(0.6, 0.95), rng.uniform(0.2, 0.75)
    lid = [(-1, 0.25), (-0.45, -0.7), (0.35, -0.85), (1.05, -0.35), (0.5, 0.65), (-0.4, 0.7)]
    almond = smooth(*lid) * [size, size * opening]
    gaze = rng.normal(0, 0.04)
    centres = [np.array([side * 0.43, -0.1]) for side in SIDES]
    middles = [pose.turn(c[None] + [[gaze, 0]])[0].astype(np.float32) for c in centres]
    reach = np.minimum(*(np.hypot(canvas.u - x, canvas.v - y) for x, y in middles)) / size
    glow = 1.15 - 0.5 * reach + 0.35 * (canvas.v - middles[0][1]) / size
    colour = np.clip(iris * np.clip(glow, 0.3, 1.3)[..., None], 0, 1)
    for side, centre, (x, y) in zip(SIDES, centres, middles, strict=True):
        outline = mirror(almond, side)
        canvas.fill(pose.turn(outline * 1.22 + centre), (0.07, 0.05, 0.05), blur=0.015)
        eye = canvas.mask(pose.turn(outline + centre))
        canvas.paint(eye, colour)
        pupil = ellipse(x, y, size * slit * 0.72, size * min(opening, 0.85) * 0.82)
        canvas.paint(darker(canvas.mask(pupil), eye), (0.02, 0.02, 0.03))
        glint = ellipse(x + 0.09 * np.sign(canvas.light[0]), y - 0.09, 0.055, 0.05)
        canvas.paint(darker(canvas.mask(glint), eye), (1, 1, 1), 0.95)


def _cat_nose(canvas: Canvas, pose: Pose, colour: np.ndarray) -> None:
    nose = smooth((-0.13, 0.25), (0, 0.22), (0.13, 0.25), (0.09, 0.35), (0, 0.42), (-0.09, 0.35))
    canvas.fill(pose.turn(nose), colour)
    canvas.fill(pose.turn(ellipse(0, 0.27, 0.07, 0.02)), (1, 1, 1), 0.35, blur=0.015)


def _whiskers(canvas: Canvas, pose: Pose) -> None:
    rng = canvas.rng
    for side in SIDES:
        for lift in (-0.16, 0.0, 0.16):
            start = pose.turn([[side * 0.3, 0.5 + 0.3 * lift]])[0]
            reach, droop = rng.uniform(0.8, 1.15), rng.uniform(-0.05, 0.15)
            t = np.linspace(0, 1, 6)[:, None]
            hair = start + t * [side * reach, lift] + t**2 * [0, droop]
            canvas.paint(canvas.line(hair, 0.012), (0.97, 0.97, 0.95), 0.5)
