-- What the gateway metered and no turn reported: the agent or its container died, or the agent hides it. Older code neither reads
-- nor writes these tables; the calls that it stores are compared when a newer manager stores the next one of that session.

-- A row per session that called a model: whether its calls have yet to be compared with what its turns reported.
create table usage_metered (
    session_id uuid primary key references sessions (id) on delete cascade,
    due boolean not null default true,
    unreported boolean not null default false,
    turns bigint not null default 0,
    settled_at timestamptz not null default '-infinity'
);
create index usage_metered_open on usage_metered (settled_at) where due or unreported;

-- The difference, by day in UTC. A report that comes late makes it smaller again, so one day's may be negative.
create table usage_unreported (
    session_id uuid not null references sessions (id) on delete cascade,
    day date not null,
    model text not null,
    owner text not null,
    user_id text not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    cost_usd double precision not null,
    primary key (session_id, day, model)
);
create index usage_unreported_by_day on usage_unreported (day);
