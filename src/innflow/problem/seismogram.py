"""Impedance profile from a reflection seismogram with correlated noise.

Prior: the logarithms of the acoustic impedance (in kg/m^2/s) at 64 two-way times, 4 ms apart, a
Gaussian process about a linear trend. Forward model: half the difference of consecutive samples is
the reflection coefficient; the trace (64 samples, dimensionless) is its convolution with a Ricker
wavelet of 25 Hz. Neither the mean impedance nor its slow changes affect the trace. Noise: an AR(1)
process. Reference posterior: exact, as the model is linear and Gaussian.
"""

import numpy as np
from torch import Tensor

from innflow.problem.gaussian import LinearGaussian, matern32

SAMPLES = 64
STEP = 0.004  # s
PEAK_FREQUENCY = 25.0  # Hz
NOISE_SD = 0.01
NOISE_CORRELATION = 0.6  # from one sample to the next


def ricker(time: np.ndarray) -> np.ndarray:
    """Return the Ricker wavelet, of amplitude 1 at its centre, at times in s (Ricker, 1953)."""
    phase = (np.pi * PEAK_FREQUENCY * time) ** 2
    return (1 - 2 * phase) * np.exp(-phase)


_TIME = STEP * np.arange(SAMPLES)
_INTERFACE = _TIME[:-1] + STEP / 2
_REFLECTIVITY = np.diff(np.eye(SAMPLES), axis=0) / 2
_LAG = np.abs(np.arange(SAMPLES)[:, None] - np.arange(SAMPLES))

PARAMETERS = tuple(f"ln impedance {1000 * t:.0f} ms" for t in _TIME)
OBSERVABLES = tuple(f"trace {1000 * t:.0f} ms" for t in _TIME)

NOISE = np.linalg.cholesky(NOISE_SD**2 * NOISE_CORRELATION**_LAG)
MODEL = LinearGaussian(
    mean=np.log(np.linspace(4.5e6, 6.5e6, SAMPLES)),
    covariance=matern32(_TIME, sd=0.15, length=0.02),
    matrix=ricker(_TIME[:, None] - _INTERFACE) @ _REFLECTIVITY,
)
prior, posterior = MODEL.prior(), MODEL.draw


def forward(x: Tensor) -> Tensor:
    """Return the traces (B, 64) without noise of log-impedance profiles x (B, 64)."""
    # The mean does not change the trace; without it there is less cancellation.
    return MODEL.forward(x - x.mean(dim=1, keepdim=True))
