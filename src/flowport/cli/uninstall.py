"""`flowport uninstall`."""

from flowport.cli.install import uninstall as command

__all__ = ["command"]
