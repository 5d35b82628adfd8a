-- The warm pool: sandboxes that are started ahead of their sessions, and which stage of a warm start served a session.
-- Older code ignores all of it; its sweep removes the containers of members as unknown.

alter table sessions add column warm_start text not null default 'none' check (warm_start ~ '^[a-z_]{1,32}$');

-- One row per member, from before its sandbox starts until everything of it is removed or a session has claimed it.
-- `id` is the id that its session will have.
create table pool (
    id uuid primary key,
    state text not null check (state in ('starting', 'ready', 'removing')),
    recipe text not null,
    memory_bytes bigint not null,
    cpus double precision not null,
    pids integer not null,
    created_at timestamptz not null default now()
);

-- How many creates each stage has served.
create table pool_claims (
    stage text primary key,
    claims bigint not null
);
