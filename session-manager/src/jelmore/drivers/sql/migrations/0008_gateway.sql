-- What the gateway recorded, the servers that it leads to, and the credentials that it adds, encrypted by its key.

create table gateway_calls (
    gateway uuid not null,
    seq bigint not null,
    session_id uuid not null references sessions (id) on delete cascade,
    generation integer not null,
    at timestamptz not null,
    route text not null,
    status integer not null,
    method text not null,
    tool text not null,
    model text not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    complete boolean not null,
    primary key (gateway, seq)
);
create index gateway_calls_by_session on gateway_calls (session_id, at);

-- Up to where each gateway was read. A new id is a gateway that lost its state and counts from 1 again.
create table gateway_cursors (
    gateway uuid primary key,
    seq bigint not null
);

create table gateway_routes (
    name text primary key,
    body jsonb not null
);

create table credentials (
    scope text not null check (scope in ('deployment', 'user', 'session')),
    owner text not null,
    name text not null,
    sealed text not null,
    key_id text not null,
    changed_at timestamptz not null default now(),
    primary key (scope, owner, name)
);

-- Counts every change of routes and credentials, so that managers see cheaply whether the gateway is behind. A row and
-- not a sequence: its value is visible only with the change.
create table gateway_revision (
    only_row boolean primary key default true check (only_row),
    revision bigint not null
);
insert into gateway_revision (revision) values (0);

create function note_gateway_change() returns trigger language plpgsql as $$
begin
    update gateway_revision set revision = revision + 1;
    return null;
end
$$;

create trigger gateway_routes_change after insert or update or delete on gateway_routes
    for each statement execute function note_gateway_change();
create trigger credentials_change after insert or update or delete on credentials
    for each statement execute function note_gateway_change();

create function drop_session_credentials() returns trigger language plpgsql as $$
begin
    if exists (select from credentials where scope = 'session' and owner = old.id::text) then
        delete from credentials where scope = 'session' and owner = old.id::text;
    end if;
    return null;
end
$$;

create trigger sessions_drop_credentials after delete on sessions
    for each row execute function drop_session_credentials();
