"""Other protocols over the client: Model Context Protocol (`jelmore mcp`) and Agent Client Protocol (`jelmore acp`).

Both need an optional extra (`jelmore-client[mcp]`, `jelmore-client[acp]`); nothing else imports these modules.
"""
