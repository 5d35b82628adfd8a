-- What a list shows of a spec, kept beside it so that a list opens no large spec; computed when the spec is written.
-- Saves of the state leave `spec` and `metadata` alone, so a large value is written once and not with every batch.

alter table sessions
    add column brief jsonb generated always as (spec - array['query', 'system_prompt', 'mcp_servers']) stored,
    add column query_start text generated always as (left(spec ->> 'query', 501)) stored;

-- The former index kept ended sessions, whose container id was never cleared.
create index sessions_live on sessions (id) where ended_at is null;
drop index sessions_unfinished;
