-- The first schema: sessions, what they printed, what happened to them, and who may ask.

create table sessions (
    id uuid primary key,
    owner text not null,
    user_id text,
    status text not null check (
        status in ('initializing', 'active', 'idle', 'waiting_input', 'terminated', 'failed')
    ),
    wanted text not null check (wanted in ('running', 'ended')),
    presence text not null check (presence in ('awake', 'frozen', 'hibernated')),
    waiting_for text check (waiting_for in ('prompt', 'permission', 'question')),
    version bigint not null check (version > 0),
    generation integer not null check (generation > 0),
    event_seq bigint not null check (event_seq >= 0),
    output_seq bigint not null check (output_seq >= 0),
    restarts integer not null check (restarts >= 0),
    created_at timestamptz not null,
    updated_at timestamptz not null default now(),
    last_activity_at timestamptz not null,
    since timestamptz not null,
    restarted_at timestamptz,
    warned_at timestamptz,
    ended_at timestamptz,
    end_reason text,
    container_id text,
    agent_pid integer,
    current_directory text,
    title text,
    archived boolean not null,
    metadata jsonb not null check (jsonb_typeof(metadata) = 'object'),
    spec jsonb not null,
    usage jsonb not null,
    failure jsonb,
    pending jsonb not null default '[]',
    constraint ended_at_tells_of_the_end check ((ended_at is not null) = (status in ('terminated', 'failed'))),
    constraint an_ended_session_waits_for_nothing check (ended_at is null or waiting_for is null)
);

create index sessions_by_owner on sessions (owner, id desc);
create index sessions_by_user on sessions (user_id, id desc) where user_id is not null;
create index sessions_by_metadata on sessions using gin (metadata jsonb_path_ops);
create index sessions_unfinished on sessions (id) where ended_at is null or container_id is not null;
create index sessions_ended on sessions (ended_at) where ended_at is not null;

-- No foreign keys on the two large tables: their rows are written by the statement that writes the session, and
-- deleted by the one that deletes it, so a check per row would only cost.
create table output (
    session_id uuid not null,
    seq bigint not null check (seq > 0),
    kind text not null,
    at timestamptz not null,
    text text not null,
    primary key (session_id, seq)
);

create table events (
    session_id uuid not null,
    seq bigint not null check (seq > 0),
    type text not null,
    at timestamptz not null,
    payload jsonb not null check (jsonb_typeof(payload) = 'object'),
    output_seq bigint,
    version bigint not null,
    primary key (session_id, seq)
);

create table outbox (
    id bigint generated always as identity primary key,
    session_id uuid not null,
    seq bigint not null,
    unique (session_id, seq),
    foreign key (session_id, seq) references events on delete cascade
);

-- Events of the system itself have no session whose row could number them.
create table system_events (
    only_row boolean primary key default true check (only_row),
    event_seq bigint not null
);
insert into system_events (event_seq) values (0);

create table probes (
    id bigint generated always as identity primary key,
    session_id uuid not null references sessions on delete cascade,
    at timestamptz not null,
    healthy boolean not null,
    latency_ms double precision not null,
    message text not null
);
create index probes_by_session on probes (session_id, id);

create table idempotency_keys (
    owner text not null,
    key text not null,
    request_digest text not null,
    session_id uuid not null references sessions on delete cascade,
    created_at timestamptz not null default now(),
    primary key (owner, key)
);
create index idempotency_keys_by_session on idempotency_keys (session_id);

create table api_keys (
    id text primary key,
    name text not null,
    role text not null check (role in ('admin', 'client', 'readonly')),
    digest text not null unique,
    created_at timestamptz not null,
    revoked_at timestamptz
);

create table signing_keys (
    only_row boolean primary key default true check (only_row),
    private_key text not null,
    created_at timestamptz not null default now()
);

-- Who does what when several managers share the sessions; see leases.sql.
create table leases (
    name text primary key,
    holder text not null,
    expires_at timestamptz not null
);
