"""A database as a server of the Model Context Protocol, for agents: `sqlrag mcp DB`."""
