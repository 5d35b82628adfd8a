-- Webhooks: who is called with which events, what was delivered, and how far the event log has been looked through.

create table webhooks (
    id uuid primary key,
    owner text not null,
    only_owner text,
    url text not null,
    secret text not null,
    types text[] not null,
    waiting_for text[] not null,
    session_id uuid,
    user_id text,
    description text not null,
    enabled boolean not null,
    created_at timestamptz not null default now()
);
create index webhooks_by_owner on webhooks (owner, id);

create table webhook_deliveries (
    id uuid primary key,
    webhook_id uuid not null references webhooks on delete cascade,
    position bigint not null,
    session_id uuid not null,
    seq bigint not null,
    type text not null,
    state text not null check (state in ('pending', 'delivered', 'failed')),
    attempts integer not null default 0,
    next_at timestamptz not null default now(),
    created_at timestamptz not null default now(),
    sent_at timestamptz,
    status integer,
    error text,
    duration_ms double precision,
    unique (webhook_id, position)
);
create index webhook_deliveries_due on webhook_deliveries (next_at) where state = 'pending';
create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_id, id desc);
create index webhook_deliveries_done on webhook_deliveries (created_at) where state <> 'pending';

-- Events before the upgrade are not sent.
create table webhook_cursor (
    only_row boolean primary key default true check (only_row),
    position bigint not null
);
