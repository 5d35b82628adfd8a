-- What turns used and cost, budgets, and which sessions were erased. Older code neither reads nor writes these tables.

-- Which words there are is the code's matter: a session may also wait for a budget.
alter table sessions drop constraint sessions_waiting_for_check;
alter table sessions add constraint sessions_waiting_for_check check (waiting_for ~ '^[a-z_]{1,32}$');

-- One row per turn and model, under the seq of the output that ended the turn. `turns` is 1 for the turn's main model.
create table usage_turns (
    session_id uuid not null,
    seq bigint not null,
    model text not null,
    at timestamptz not null,
    owner text not null,
    user_id text not null,
    turns integer not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    cost_usd double precision not null check (cost_usd >= 0),
    primary key (session_id, seq, model)
);

-- The sums, by day in UTC. They stay when a session is erased, and answer budgets and reports without reading turns.
create table usage_days (
    day date not null,
    owner text not null,
    user_id text not null,
    model text not null,
    turns bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    cost_usd double precision not null,
    primary key (day, owner, user_id, model)
);
create index usage_days_by_owner on usage_days (owner, day);
create index usage_days_by_user on usage_days (user_id, day);
create index usage_turns_by_time on usage_turns (at);
create index usage_turns_by_owner on usage_turns (owner, at);

-- A budget pauses the sessions that it covers: `subject` is the id of a key or a `user_id`.
create table budgets (
    scope text not null check (scope in ('key', 'user')),
    subject text not null,
    period text not null check (period in ('day', 'total')),
    limit_usd double precision not null check (limit_usd >= 0),
    updated_at timestamptz not null,
    updated_by text not null,
    primary key (scope, subject, period)
);

-- The proof of an erasure. It holds no content of the session.
create table erasures (
    session_id uuid primary key,
    owner text not null,
    erased_at timestamptz not null,
    erased_by text not null,
    found jsonb not null,
    remaining jsonb not null
);
