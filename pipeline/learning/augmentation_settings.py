"""Settings of the random changes of a training window."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from segment_tiles.pipeline.learning.setting_types import Fraction, Positive, Settings


class RecoloringSettings(Settings):
    """How pixels of one class change their colour independently of other classes; value 0 stays 0."""

    probability: Fraction = 0.7
    """Probability that it is done."""
    gain: tuple[Positive, Positive] = (0.7, 1.7)
    """Range of the factor of all bands, drawn evenly in its logarithm."""
    tint: Annotated[float, Field(ge=0)] = 0.2
    """Each band has a factor of its own, its natural logarithm within +- this."""
    grey: Fraction = 1.0
    """Largest share of the mean of all bands that replaces each band."""


class StainSettings(Settings):
    """How the stains of tissue change: haematoxylin, eosin and DAB, each on its own; of colour pictures alone."""

    probability: Fraction = 0.0
    """Probability that it is done."""
    gain: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Each stain is multiplied by 1 +- this."""
    shift: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Each stain is moved by +- this, in units of optical density."""


class AugmentationSettings(Settings):
    """Random changes of a training window; every one can be switched off with 0."""

    scale: tuple[Positive, Positive] = (0.5, 2.0)
    """Range of the zoom, drawn evenly in its logarithm; 2 shows things twice as large."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    """Largest rotation in degrees, either way."""
    flips: bool = True
    band_gain: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Each band is multiplied by 1 +- this."""
    band_offset: Annotated[float, Field(ge=0)] = 0.5
    """Each band is moved by +- this many standard deviations."""
    brightness: Annotated[float, Field(ge=0)] = 0.5
    """All bands are moved together by +- this many standard deviations."""
    gamma: tuple[Positive, Positive] = (0.7, 1.4)
    """Range of the exponent of a contrast curve."""
    grey: Fraction = 0.3
    """Largest share of the mean of all bands that replaces each band: takes the colour out."""
    noise: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of added noise, in standard deviations of the band."""
    blur: Annotated[float, Field(ge=0)] = 1.0
    """Largest sigma of a Gaussian blur, in pixels."""
    low_resolution: Annotated[float, Field(ge=1)] = 1.0
    """Largest factor by which pixels are made coarser by their mean, and brought back bilinearly, as a source with
    larger pixels is; 1 switches it off."""
    probability: Fraction = 0.5
    """Probability of each radiometric change."""
    recolor: dict[str, RecoloringSettings] = Field(default_factory=dict)
    """Class -> how its pixels change their colour, independently of other classes: for what has another colour
    at the next site, such as the ground under trees."""
    stain: StainSettings = StainSettings()
    """Other stains of tissue, of three bands red, green, blue."""
