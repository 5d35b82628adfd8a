-- name: cursor
-- Returns up to which seq a gateway was read; no row for a gateway that was never read.
select seq from gateway_cursors where gateway = :gateway;

-- name: add_calls
-- Stores the calls of sessions that exist, once each, with the events that newly stored ones lead to, and remembers up
-- to which seq the gateway was read. Does not change the version of a session: its state stays as it is. What was metered
-- has to be compared with what turns report (`settle`, in usage.sql).
with given as (
    select * from jsonb_to_recordset(:calls::jsonb) as call (
        seq bigint, session_id uuid, generation integer, at timestamptz, route text, status integer, method text,
        tool text, model text, input_tokens bigint, output_tokens bigint, cache_read_tokens bigint,
        cache_write_tokens bigint, complete boolean
    )
),
stored as (
    insert into gateway_calls (
        gateway, seq, session_id, generation, at, route, status, method, tool, model, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, complete
    )
    select :gateway, given.seq, given.session_id, given.generation, given.at, given.route, given.status, given.method,
        given.tool, given.model, given.input_tokens, given.output_tokens, given.cache_read_tokens,
        given.cache_write_tokens, given.complete
    from given join sessions on sessions.id = given.session_id
    on conflict do nothing
    returning session_id, seq, route
),
metered as (
    insert into usage_metered (session_id)
    select distinct session_id from stored where route = 'model' order by session_id
    on conflict (session_id) do update set due = true
),
drafts as (
    select stored.session_id, draft.type, draft.payload,
        row_number() over (partition by stored.session_id order by stored.seq) as n,
        count(*) over (partition by stored.session_id) as total
    from stored join jsonb_to_recordset(:drafts::jsonb) as draft (seq bigint, type text, payload jsonb) using (seq)
),
numbered as (
    update sessions set event_seq = event_seq + of_session.total
    from (select session_id, count(*) as total from drafts group by session_id order by session_id) as of_session
    where sessions.id = of_session.session_id
    returning sessions.id, sessions.event_seq, sessions.version
),
new_events as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select numbered.id, numbered.event_seq - drafts.total + drafts.n, drafts.type, clock_timestamp(), drafts.payload,
        null, numbered.version
    from drafts join numbered on numbered.id = drafts.session_id
    order by drafts.session_id, drafts.n
    returning session_id, seq
),
queued as (
    insert into outbox (session_id, seq) select session_id, seq from new_events order by session_id, seq
)
insert into gateway_cursors as known (gateway, seq)
select :gateway, max(seq) from given having max(seq) is not null
on conflict (gateway) do update set seq = greatest(known.seq, excluded.seq);

-- name: usage
-- Sums what a session's calls of the model used, by model.
select model, count(*) as calls, sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens,
    sum(cache_read_tokens)::bigint as cache_read_tokens, sum(cache_write_tokens)::bigint as cache_write_tokens
from gateway_calls where session_id = :session_id and route = 'model' group by model order by model;

-- name: calls
-- Reads a session's newest calls that did not go to the model.
select at, route, status, method, tool, complete from gateway_calls
where session_id = :session_id and route <> 'model' order by at desc, seq desc limit :limit;

-- name: revision
-- Returns a number that grows with every change of routes and credentials.
select revision from gateway_revision;

-- name: routes
-- Reads every route.
select body from gateway_routes order by name;

-- name: put_route
-- Stores a route in place of any earlier one of its name.
insert into gateway_routes (name, body) values (:name, :body::jsonb)
on conflict (name) do update set body = excluded.body;

-- name: drop_route
-- Removes a route; returns a row when there was one.
delete from gateway_routes where name = :name returning name;

-- name: credentials
-- Reads every credential, encrypted.
select scope, owner, name, kind, sealed, key_id, changed_at from credentials order by scope, owner, name;

-- name: put_credential
-- Stores an encrypted credential in place of any earlier one.
insert into credentials (scope, owner, name, kind, sealed, key_id)
values (:scope, :owner, :name, :kind, :sealed, :key_id)
on conflict (scope, owner, name)
do update set kind = excluded.kind, sealed = excluded.sealed, key_id = excluded.key_id, changed_at = now();

-- name: seal_again
-- Replaces the encrypted form of a credential that nobody has changed meanwhile.
update credentials set sealed = :sealed, key_id = :key_id
where scope = :scope and owner = :owner and name = :name and sealed = :before;

-- name: drop_credential
-- Removes a credential; returns a row when there was one.
delete from credentials where scope = :scope and owner = :owner and name = :name returning name;

-- name: keep_authorization
-- Stores an authorization that has started, unless too many of the same key are under way; removes those that have run out.
with outdated as (
    delete from authorizations where expires_at < clock_timestamp()
)
insert into authorizations (state, started_by, scope, owner, name, route, sealed, expires_at)
select :state, :started_by, :scope, :owner, :name, :route, :sealed, clock_timestamp() + make_interval(secs => :for_s)
where (select count(*) from authorizations where started_by = :started_by and expires_at > clock_timestamp()) < :most
returning state;

-- name: fill_authorization
-- Gives an authorization that was kept without them its state and what finishes it; returns a row unless it has run out.
update authorizations set state = :state, sealed = :sealed where state = :place and expires_at > clock_timestamp()
returning state;

-- name: take_authorization
-- Removes an authorization that this key has started and that has not run out, and returns it.
delete from authorizations where state = :state and started_by = :started_by and expires_at > clock_timestamp()
returning scope, owner, name, route, sealed;
