"""MCP: dispatch, results, resources, notifications, and the stdio transport."""
