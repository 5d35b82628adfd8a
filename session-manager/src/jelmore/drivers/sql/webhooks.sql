-- name: add
-- Stores a webhook unless its owner has too many already.
insert into webhooks (id, owner, only_owner, url, secret, types, waiting_for, session_id, user_id, description, enabled)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11
where (select count(*) from webhooks where owner = $2) < $12
returning *;

-- name: list
-- Lists the webhooks of an owner, or all, oldest first.
select * from webhooks where $1::text is null or owner = $1 order by id;

-- name: one
-- Reads a webhook of an owner, or anybody's.
select * from webhooks where id = $1 and ($2::text is null or owner = $2);

-- name: change
-- Changes a webhook. A null leaves a value as it is.
update webhooks set
    url = coalesce($2, url), secret = coalesce($3, secret), types = coalesce($4, types),
    waiting_for = coalesce($5, waiting_for), description = coalesce($6, description), enabled = coalesce($7, enabled)
where id = $1 returning *;

-- name: remove
-- Removes a webhook with its deliveries.
delete from webhooks where id = $1;

-- name: active
-- Lists the webhooks that get events: enabled, and with a key that is not revoked; with how many deliveries wait.
select w.*, (select count(*) from webhook_deliveries as d where d.webhook_id = w.id and d.state = 'pending') as waiting
from webhooks as w join api_keys as k on k.id = w.owner
where w.enabled and k.revoked_at is null
order by w.id;

-- name: cursor
-- Reads how far the log was looked through. Begins at the newest position.
with begun as (
    insert into webhook_cursor (position) select last from event_positions on conflict do nothing returning position
)
select position from begun union all select position from webhook_cursor limit 1;

-- name: move
-- Moves the cursor from where the caller read it. No row means that somebody else has moved it.
update webhook_cursor set position = $2 where position = $1 returning position;

-- name: enqueue
-- Stores deliveries. One that exists already stays as it is.
insert into webhook_deliveries (id, webhook_id, position, session_id, seq, type, state, error)
select * from unnest(
    $1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::text[], $7::text[], $8::text[]
)
on conflict do nothing;

-- name: claim
-- Takes deliveries that are due, a few of each webhook, for as long as one attempt may take. Others skip them.
with due as (
    select d.id, row_number() over (partition by d.webhook_id order by d.next_at, d.position) as place
    from webhook_deliveries as d join webhooks as w on w.id = d.webhook_id join api_keys as k on k.id = w.owner
    where d.state = 'pending' and d.next_at <= clock_timestamp() and w.enabled and k.revoked_at is null
      and not d.webhook_id = any($4::uuid[])
    order by d.next_at
    limit 1000
),
chosen as (
    select id from webhook_deliveries
    where id in (select id from due where place <= $2 order by place limit $1)
    for update skip locked
),
taken as (
    update webhook_deliveries set
        attempts = attempts + 1, next_at = clock_timestamp() + make_interval(secs => $3)
    where id in (select id from chosen) and state = 'pending'
    returning *
)
select t.id as delivery_id, t.webhook_id, t.position, t.attempts, w.url, w.secret, e.session_id, e.seq, e.type, e.at,
    e.payload, e.output_seq, e.version, s.owner, s.user_id, e.session_id is not null as kept
from taken as t join webhooks as w on w.id = t.webhook_id
    left join events as e on e.session_id = t.session_id and e.seq = t.seq
    left join sessions as s on s.id = t.session_id
order by t.position;

-- name: finish
-- Records the outcome of an attempt. A retry is due in so many seconds.
update webhook_deliveries set
    state = $2, status = $3, error = $4, duration_ms = $5, sent_at = clock_timestamp(),
    next_at = clock_timestamp() + make_interval(secs => $6)
where id = $1;

-- name: deliveries
-- Reads a page of the deliveries of a webhook, newest first. A null state means every one.
select id, position, session_id, seq, type, state, attempts, next_at, created_at, sent_at, status, error, duration_ms
from webhook_deliveries
where webhook_id = $1 and ($2::text is null or state = $2) and ($3::uuid is null or id < $3)
order by id desc
limit $4;

-- name: again
-- Makes deliveries due again, from their first attempt on: one, or every failed one. Returns how many.
with due as (
    update webhook_deliveries set state = 'pending', attempts = 0, next_at = clock_timestamp(), error = null
    where webhook_id = $1 and case when $2::uuid is null then state = 'failed' else id = $2 end
    returning id
)
select count(*) from due;

-- name: trim_deliveries
-- Removes finished deliveries that are older than so many seconds, a bounded number at once.
delete from webhook_deliveries where id in (
    select id from webhook_deliveries
    where state <> 'pending' and created_at < clock_timestamp() - make_interval(secs => $1)
    limit 5000
);
