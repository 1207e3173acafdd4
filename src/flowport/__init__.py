"""An MCP server that turns visual AI workflows into typed tools."""

__version__ = "0.1.0"
