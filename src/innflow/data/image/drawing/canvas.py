"""Canvas for drawn photographs: polygons, colours, fur, light and shadow."""

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFilter

SUPERSAMPLE = 2

Colour = tuple[float, float, float] | np.ndarray


def ellipse(x: float, y: float, width: float, height: float, count: int = 36) -> np.ndarray:
    """Return the points (count, 2) of an ellipse by its centre and half axes."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=1)


def smooth(*corners: tuple[float, float], steps: int = 7) -> np.ndarray:
    """Return a closed curve (steps * corners, 2) through the corners: a Catmull-Rom spline."""
    here = np.array(corners)
    before, after, beyond = (np.roll(here, shift, axis=0) for shift in (1, -1, -2))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = here + 0.5 * t * (
        after
        - before
        + t * (2 * before - 5 * here + 4 * after - beyond)
        + t**2 * (3 * here - before - 3 * after + beyond)
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def mirror(points: np.ndarray, side: int) -> np.ndarray:
    """Return points for the right (1) or left (-1) half of a face."""
    return points * [side, 1]


def ragged(points: np.ndarray, rng: Generator, amount: float) -> np.ndarray:
    """Return an outline with its points moved in and out at random, like fur."""
    centre = points.mean(axis=0)
    return centre + (points - centre) * (1 + amount * rng.standard_normal((len(points), 1)))


class Canvas:
    """A square picture that shapes are painted on.

    Shapes are given in the coordinates of the object drawn, which `place` maps to the frame:
    x to the right and y down, the object's half width about 1.

    Attributes:
        image: Colours (H, W, 3), 0 to 1.
        u, v: Object coordinates of every pixel (H, W).
        light: Unit vector towards the light in the frame: right, down, towards the viewer.
    """

    def __init__(self, rng: Generator, pixels: int) -> None:
        self.rng = rng
        self.side = SUPERSAMPLE * pixels
        axis = (np.arange(self.side, dtype=np.float32) + 0.5) * (2 / self.side) - 1
        self.x, self.y = np.meshgrid(axis, axis)
        self.image: np.ndarray = np.zeros((self.side, self.side, 3), np.float32)
        light = [rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.2), rng.uniform(0.6, 1.0)]
        self.light = np.array(light, np.float32) / np.float32(np.linalg.norm(light))
        self.place()

    def place(
        self, scale: float = 1.0, angle: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        """Map object coordinates to the frame: scale, rotate (radians), then shift."""
        cos, sin = np.cos(angle), np.sin(angle)
        self.matrix = scale * np.array([[cos, -sin], [sin, cos]])
        self.shift = np.array(shift)
        self._pixels_per_unit = scale * self.side / 2
        back = np.linalg.inv(self.matrix).astype(np.float32)
        x, y = self.x - np.float32(shift[0]), self.y - np.float32(shift[1])
        self.u, self.v = back[0, 0] * x + back[0, 1] * y, back[1, 0] * x + back[1, 1] * y

    def mask(self, *shapes: np.ndarray, blur: float = 0.0) -> Image.Image:
        """Return a mask of polygons (N, 2) together, its edge blurred in object units."""
        mask = Image.new("L", (self.side, self.side))
        draw = ImageDraw.Draw(mask)
        for points in shapes:
            frame = (points @ self.matrix.T + self.shift + 1) * (self.side / 2)
            draw.polygon(frame.ravel().tolist(), fill=255)
        return self.blurred(mask, blur)

    def line(self, points: ArrayLike, width: float) -> Image.Image:
        """Return a mask of an open line through points (N, 2), of a width in object units."""
        mask = Image.new("L", (self.side, self.side))
        frame = (np.asarray(points) @ self.matrix.T + self.shift + 1) * (self.side / 2)
        thick = max(1, round(width * self._pixels_per_unit))
        ImageDraw.Draw(mask).line(frame.ravel().tolist(), fill=255, width=thick, joint="curve")
        return mask

    def blurred(self, mask: Image.Image, blur: float) -> Image.Image:
        """Return a mask blurred by a radius in object units."""
        box, radius = mask.getbbox(), blur * self._pixels_per_unit
        if blur <= 0 or box is None:
            return mask
        edge = int(3 * radius) + 1
        # Blur only the bounding box, as most shapes are small.
        left, top = max(box[0] - edge, 0), max(box[1] - edge, 0)
        part = mask.crop((left, top, min(box[2] + edge, self.side), min(box[3] + edge, self.side)))
        soft = Image.new("L", mask.size)
        soft.paste(part.filter(ImageFilter.GaussianBlur(radius)), (left, top))
        return soft

    def paint(self, mask: Image.Image, colour: Colour, alpha: float | np.ndarray = 1.0) -> None:
        """Paint a colour (3,), or one per pixel (H, W, 3), over the image under a mask."""
        box = mask.getbbox()
        if box is None:
            return
        window = np.s_[box[1] : box[3], box[0] : box[2]]
        cover = np.asarray(mask.crop(box), np.float32)[..., None] / 255
        paint = np.asarray(colour, np.float32)
        strength = np.asarray(alpha, np.float32)
        if paint.ndim == 3:
            paint = paint[window]
        if strength.ndim == 2:
            strength = strength[window][..., None]
        self.image[window] += cover * strength * (paint - self.image[window])

    def fill(
        self, points: np.ndarray, colour: Colour, alpha: float = 1.0, blur: float = 0.0
    ) -> None:
        """Paint a polygon (N, 2), its edge blurred in object units."""
        self.paint(self.mask(points, blur=blur), colour, alpha)

    def shade(self, mask: Image.Image, width: float, height: float, depth: float = 0.5) -> None:
        """Shade the area under a mask like half an ellipsoid with these half axes."""
        right, down = self.u / width, self.v / height
        toward = np.sqrt(np.clip(1 - right**2 - down**2, 0.05, 1))
        light = np.linalg.inv(self.matrix) @ self.light[:2] * np.sqrt(np.linalg.det(self.matrix))
        light = light.astype(np.float32)
        lit = right * light[0] + down * light[1] + toward * self.light[2]
        gain = (1 - depth + depth * np.clip(1.25 * lit, 0, 1.4))[..., None]
        self.paint(mask, np.clip(self.image * gain, 0, 1))

    def cast_shadow(self, *shapes: np.ndarray) -> None:
        """Paint the shadow of polygons (N, 2) together, away from the light."""
        mask = self.mask(*shapes)
        away = tuple(-self.light[:2] * self.side * 0.07)
        moved = mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, -away[0], 0, 1, -away[1]))
        self.paint(self.blurred(moved, 0.12), (0, 0, 0), 0.35)

    def noise(self, cells: int) -> np.ndarray:
        """Return smooth, roughly standard normal noise (H, W) from `cells` cells a side."""
        coarse = self.rng.standard_normal((cells, cells)).astype(np.float32)
        smoothed = Image.fromarray(coarse).resize((self.side,) * 2, Image.Resampling.BICUBIC)
        return np.asarray(smoothed)

    def fur(self, hairs: int = 110, rings: int = 9) -> np.ndarray:
        """Return standard normal noise (H, W) in streaks outward from the object."""
        table = self.rng.standard_normal((hairs, rings)).astype(np.float32)
        start = self.rng.random(hairs, np.float32)
        hair = ((np.arctan2(self.v, self.u) / (2 * np.pi) + 0.5) * hairs).astype(int) - 1
        reach = 4 * np.hypot(self.u, self.v) + start[hair]
        return table[hair, reach.astype(int) % rings]

    def finish(self) -> Image.Image:
        """Return the picture at its final size, with blur and grain of a small camera."""
        rng = self.rng
        direction = self.x * self.light[0] + self.y * self.light[1]
        exposure = rng.uniform(0.88, 1.1) * (1 + rng.uniform(0.05, 0.25) * direction)
        tint = 1 + rng.uniform(-0.06, 0.06) * np.array([1, 0, -1], np.float32)
        colours = np.clip(self.image * exposure[..., None] * tint, 0, 1)
        image = Image.fromarray((255 * colours).astype(np.uint8))
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.35) * SUPERSAMPLE))
        image = image.reduce(SUPERSAMPLE)
        grain = rng.uniform(0.5, 4.0) * rng.standard_normal((*image.size, 3))
        return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def hue(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    """Return a random colour (3,) of any hue with saturation and value in these ranges."""
    sat, val = rng.uniform(*saturation), rng.uniform(*value)
    wheel = np.abs((rng.random() * 6 + np.array([0, 4, 2], np.float32)) % 6 - 3) - 1
    return val * (1 - sat + sat * np.clip(wheel, 0, 1))


def mix(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return a mixture of two colours, with a share (H, W) of the second."""
    return colour + share[..., None] * (other - colour)


def jitter(rng: Generator, down: float = 0.0) -> tuple[float, float]:
    """Return a random position of a subject near the middle, or lower."""
    return rng.normal(0, 0.07), rng.normal(down, 0.06)
