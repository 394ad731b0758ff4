"""The JSON responses of the API, as described in /openapi.json."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Closed(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class ClassProbability(Closed):
    name: str
    probability: Share = Field(
        description="Calibrated; with one label per image the probabilities of all classes sum to 1"
    )


class Answer(Closed):
    labels: list[str] = Field(
        description="The classes decided on: one, or any number if the model was trained on several labels per image"
    )
    classes: list[ClassProbability] = Field(min_length=1, description="Those in labels first, then the most probable")
    strangeness: float | None = Field(
        description="0: as familiar as the median training picture; above 1: unlike training pictures; null: unknown"
    )
    is_strange: bool | None = Field(description="Whether strangeness is above 1; null: unknown")


class Size(Closed):
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class Limits(Closed):
    bytes: int = Field(ge=1, description="Maximum size of the file")
    memory: int = Field(ge=1, description="Maximum memory for decoding the picture, in bytes")


class ModelFacts(Closed):
    model: str = Field(description="The network's name")
    classes: list[str] = Field(min_length=1)
    kind: str = Field(description="single: one label per image; multi: several, or none")
    size: Size = Field(description="Size of the network's input in pixels")
    false_alarm_rate: Share | None = Field(
        description="Share of pictures similar to the training pictures that are marked as strange; null: unknown"
    )
    limits: Limits = Field(description="Limits for one picture")
    snellen: str = Field(description="Version of snellen")


class Problem(Closed):
    status: int = Field(ge=400, le=599, description="As in the status line")
    what: str = Field(description="What is wrong")
    expected: str | None = Field(default=None, description="What was expected")
    do: str | None = Field(default=None, description="What to do")


class Refusal(Closed):
    error: Problem
