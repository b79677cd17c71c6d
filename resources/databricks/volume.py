"""A folder of a Unity Catalog volume, by the Files API: jobs see it as files below /Volumes."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from lakehouse.engine.declare.errors import LakehouseError
from resources.databricks.patience import asked

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

_logger = logging.getLogger(__name__)


class VolumeFolder:
    """The folder `path`, which begins with /Volumes."""

    def __init__(self, client: WorkspaceClient, path: str) -> None:
        self._files = client.files
        self.path = path

    @classmethod
    @contextmanager
    def made(cls, client: WorkspaceClient, path: str) -> Generator[VolumeFolder]:
        """A folder that is there for a while."""
        folder = cls(client, path)
        asked(folder._files.create_directory, path)
        try:
            yield folder
        finally:
            folder._remove()

    def names(self) -> set[str]:
        listed = asked(lambda: list(self._files.list_directory_contents(self.path)))
        return {each.name for each in listed if each.name}

    def read(self, name: str) -> bytes:
        return asked(lambda: self._download(name))

    def write(self, name: str, content: bytes) -> None:
        asked(lambda: self._files.upload(f"{self.path}/{name}", BytesIO(content), overwrite=True))

    def _download(self, name: str) -> bytes:
        answer = self._files.download(f"{self.path}/{name}").contents
        if answer is None:
            return b""
        with answer as content:
            return content.read()

    def _remove(self) -> None:
        """It only helps: what stays is a few kilobytes in a folder of its own."""
        try:
            for name in self.names():
                asked(self._files.delete, f"{self.path}/{name}")
            asked(self._files.delete_directory, self.path)
        except LakehouseError as passing:
            _logger.warning("%s was not taken away: %s", self.path, passing)
