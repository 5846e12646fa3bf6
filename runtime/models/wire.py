"""How models meet the wire: camelCase keys in either letter case, .NET timestamps, unknown fields kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python
from typing_extensions import override

from runtime.errors import FieldProblem, InvalidInputError

_FRACTION = re.compile(r"(\.\d{6})\d+")


class WireTime(datetime):
    """A UTC time that remembers the text it was read from, so that a foreign timestamp is rewritten unchanged."""

    text: str | None = None  # none in a time that was computed from one

    @classmethod
    def parse(cls, text: str) -> WireTime:
        """Read ISO 8601 with up to nine fractional digits (.NET writes seven); no offset means UTC."""
        try:
            moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text.strip()))
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):  # an offset may lead out of the years 1 to 9999
            raise ValueError("must be an ISO 8601 time such as 2026-01-31T12:00:00Z") from None
        wire = cls.combine(moment.date(), moment.time(), UTC)
        wire.text = text
        return wire


def _read_time(value: object) -> object:
    if isinstance(value, str):
        return WireTime.parse(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    raise ValueError("must be an ISO 8601 time such as 2026-01-31T12:00:00Z")


def format_time(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC with microseconds and `Z`, or as the text it was read from."""
    if isinstance(moment, WireTime) and moment.text is not None:
        return moment.text
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{utc.isoformat(timespec='microseconds')[:-6]}Z"  # without +00:00


UtcTime = Annotated[
    datetime,
    BeforeValidator(_read_time),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class WireModel(BaseModel):
    """Base of everything that is stored or sent: camelCase outside, snake_case inside, unknown fields kept."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", validate_default=False, frozen=True
    )
    _keys: ClassVar[dict[str, str]]

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls._keys = {to_camel(name).lower(): to_camel(name) for name in cls.model_fields}

    @model_validator(mode="before")
    @classmethod
    def _either_letter_case(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = cls._keys
        return {
            (key if key in cls.model_fields else known.get(key.lower(), key)): value
            for key, value in data.items()
            if isinstance(key, str)
        }

    @classmethod
    def read(cls, data: object) -> Any:
        """Validate a decoded JSON value. Raises InvalidInputError, which quotes no value of the input."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise invalid_input(cls.__name__, error) from None

    @property
    def unknown_fields(self) -> list[str]:
        """Names of the fields that this version does not know, at the top level."""
        return sorted(self.model_extra or ())

    def to_wire(self) -> dict[str, Any]:
        """The JSON object, keys in camelCase."""
        return self.model_dump(by_alias=True, mode="python", fallback=to_jsonable_python)

    def to_json(self) -> bytes:
        """The JSON text."""
        return orjson.dumps(self.to_wire(), option=orjson.OPT_NON_STR_KEYS)


def invalid_input(subject: str, error: ValidationError) -> InvalidInputError:
    """Translate pydantic's error; values are left out, since an input may hold secrets."""
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        where = ".".join(to_camel(str(part)) if isinstance(part, str) else str(part) for part in item["loc"])
        problems.append(FieldProblem(where, item["msg"].removeprefix("Value error, ")))
    return InvalidInputError(subject, problems)
