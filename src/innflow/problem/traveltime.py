"""Layer slownesses from travel times to receivers in a borehole: a vertical seismic profile.

Prior: the slownesses in s/km (equal to ms/m) of 16 layers of 50 m, a Gaussian process about 1 /
v0(z) with v0 = 1.8 km/s + 0.9/s z, typical of young sediments. Forward model: first arrivals in ms
from a shot at the surface to a receiver at the bottom of each layer. Noise: standard deviation 1
ms. Reference posterior: exact, as the model is linear and Gaussian.
"""

import numpy as np

from innflow.problem.gaussian import LinearGaussian, matern32

LAYERS = 16
THICKNESS = 50.0  # m
NOISE = 1.0  # ms

_MIDDLE = THICKNESS * (np.arange(LAYERS) + 0.5)
_BOTTOM = THICKNESS * np.arange(1, LAYERS + 1)
_BACKGROUND = 1 / (1.8 + 0.9 * _MIDDLE / 1000)
_FLUCTUATION = matern32(_MIDDLE, sd=0.1, length=150.0)  # of the slowness, relative

PARAMETERS = tuple(f"slowness {z:.0f} m" for z in _MIDDLE)
OBSERVABLES = tuple(f"time {z:.0f} m" for z in _BOTTOM)

MODEL = LinearGaussian(
    mean=_BACKGROUND,
    covariance=_BACKGROUND[:, None] * _FLUCTUATION * _BACKGROUND,
    matrix=THICKNESS * np.tri(LAYERS),
)
prior, forward, posterior = MODEL.prior(), MODEL.forward, MODEL.draw
