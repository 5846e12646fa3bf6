"""Implementations of the ports on a Dapr sidecar, by the SDK's generated messages on `grpc.aio`."""
