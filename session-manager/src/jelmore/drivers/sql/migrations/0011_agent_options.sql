-- The options of the agent may be large (sub-agents, schemas), and no list shows them. `brief` leaves them out, as it
-- leaves out the system prompt and the MCP servers; it is computed again for the sessions that exist.

alter table sessions drop column brief;
alter table sessions
    add column brief jsonb
    generated always as (spec - array['query', 'system_prompt', 'mcp_servers', 'options', 'bounds']) stored;
