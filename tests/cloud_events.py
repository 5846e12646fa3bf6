"""Reads CloudEvents with the parser that the Dapr SDK comes with."""

from __future__ import annotations

from collections.abc import Mapping

from cloudevents.http import CloudEvent, from_http

STRUCTURED = {"content-type": "application/cloudevents+json"}


def read_cloud_event(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    return from_http({key.lower(): value for key, value in headers.items()}, body)
