-- People around sessions: participants with what they have read, and invites. Operators: the life of keys, an audit log,
-- and what is changed while managers run.

create table participants (
    session_id uuid not null references sessions on delete cascade,
    id text not null,
    name text not null,
    role text not null check (role in ('owner', 'editor', 'viewer')),
    digest text unique,
    invite_id uuid,
    read_output_seq bigint not null default 0,
    read_event_seq bigint not null default 0,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    primary key (session_id, id)
);
create index participants_by_id on participants (id);
create index participants_revoked on participants (revoked_at) where revoked_at is not null;

create table invites (
    id uuid primary key,
    session_id uuid not null references sessions on delete cascade,
    digest text not null unique,
    role text not null check (role in ('editor', 'viewer')),
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    access_expires_at timestamptz,
    uses_left integer not null check (uses_left >= 0),
    revoked_at timestamptz
);
create index invites_by_session on invites (session_id, id);

alter table api_keys
    add column expires_at timestamptz,
    add column last_used_at timestamptz,
    add column created_by text,
    add column replaced_by text;

create table audit_log (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    actor_name text not null,
    action text not null,
    target text not null,
    outcome text not null,
    remote text not null,
    request_id text not null
);
create index audit_log_by_time on audit_log (at);

create table live_settings (
    name text primary key,
    value jsonb not null,
    changed_at timestamptz not null default now(),
    changed_by text not null
);
