"""The fixtures of the model directory, for the commands about models."""

from tests.models.conftest import directory, environment, events, home, hub, other_disk

__all__ = ["directory", "environment", "events", "home", "hub", "other_disk"]
