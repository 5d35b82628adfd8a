-- name: add
-- Stores a webhook unless its owner has too many already.
insert into webhooks (id, owner, only_owner, url, secret, types, waiting_for, session_id, user_id, description, enabled)
select :id, :owner, :only_owner, :url, :secret, :types, :waiting_for, :session_id, :user_id, :description, :enabled
where (select count(*) from webhooks where owner = :owner and push_key is null) < :most
returning *;

-- name: add_browser
-- Stores a browser's subscription, in place of an earlier one with its URL, unless its owner has too many of others.
insert into webhooks (id, owner, only_owner, url, secret, types, waiting_for, description, enabled, push_key, push_auth)
select :id, :owner, :only_owner, :url, '', :types, :waiting_for, '', false, :push_key, :push_auth
where (select count(*) from webhooks where owner = :owner and push_key is not null and url <> :url) < :most
on conflict (url) where push_key is not null do update set
    owner = excluded.owner, only_owner = excluded.only_owner, types = excluded.types, waiting_for = excluded.waiting_for,
    push_key = excluded.push_key, push_auth = excluded.push_auth
returning *;

-- name: remove_browser
-- Removes a browser's subscription of an owner with its deliveries.
delete from webhooks where id = :id and owner = :owner and push_key is not null;

-- name: keep_push_key
-- Stores the key that signs push messages, unless there is one.
insert into push_keys (private_key) values (:private_key) on conflict do nothing;

-- name: push_key
-- Reads that key.
select private_key from push_keys;

-- name: list
-- Lists the webhooks of an owner, or all, oldest first. Browsers are none.
select * from webhooks where push_key is null and (:owner::text is null or owner = :owner) order by id;

-- name: one
-- Reads a webhook of an owner, or anybody's.
select * from webhooks where id = :id and push_key is null and (:owner::text is null or owner = :owner);

-- name: change
-- Changes a webhook. A null leaves a value as it is.
update webhooks set
    url = coalesce(:url, url), secret = coalesce(:secret, secret), types = coalesce(:types, types),
    waiting_for = coalesce(:waiting_for, waiting_for), description = coalesce(:description, description),
    enabled = coalesce(:enabled, enabled)
where id = :id returning *;

-- name: remove
-- Removes a webhook with its deliveries.
delete from webhooks where id = :id;

-- name: active
-- Lists the webhooks and browsers that get events: enabled, and with a key that is neither revoked nor expired, nor an
-- account that has not signed in for a week; with how many deliveries wait. `of_client`: the role of an account changes after it was registered.
select w.*, (select count(*) from webhook_deliveries as d where d.webhook_id = w.id and d.state = 'pending') as waiting,
    k.role = 'client' as of_client
from webhooks as w join api_keys as k on k.id = w.owner
where (w.enabled or w.push_key is not null) and k.revoked_at is null
  and (k.signed_in_until is not null or k.expires_at is null or k.expires_at > clock_timestamp())
  and (k.signed_in_until is null or k.signed_in_until > clock_timestamp() - interval '7 days')
order by w.id;

-- name: start_cursor
-- Starts at the newest position, unless there is a cursor. Waits for another manager that stores one now.
insert into webhook_cursor (position) select last from event_positions on conflict do nothing;

-- name: cursor
-- Reads how far the log was read.
select position from webhook_cursor;

-- name: move
-- Moves the cursor from where the caller read it. No row means that somebody else has moved it.
update webhook_cursor set position = :until where position = :after returning position;

-- name: enqueue
-- Stores deliveries. One that exists already stays as it is.
insert into webhook_deliveries (id, webhook_id, position, session_id, seq, type, state, error)
select * from unnest(
    :ids::uuid[], :webhook_ids::uuid[], :positions::bigint[], :session_ids::uuid[], :seqs::bigint[],
    :types::text[], :states::text[], :errors::text[]
)
on conflict do nothing;

-- name: claim
-- Takes deliveries that are due, a few of each webhook, for as long as one attempt may take. Others skip them. Those of
-- sessions that the owner sees no more, whose role has changed, come without their event.
with due as (
    select d.id, row_number() over (partition by d.webhook_id order by d.next_at, d.position) as place
    from webhook_deliveries as d join webhooks as w on w.id = d.webhook_id join api_keys as k on k.id = w.owner
    where d.state = 'pending' and d.next_at <= clock_timestamp() and (w.enabled or w.push_key is not null)
      and k.revoked_at is null
      and (k.signed_in_until is not null or k.expires_at is null or k.expires_at > clock_timestamp())
      and (k.signed_in_until is null or k.signed_in_until > clock_timestamp() - interval '7 days')
      and not d.webhook_id = any(:without::uuid[])
    order by d.next_at
    limit 1000
),
chosen as (
    select id from webhook_deliveries
    where id in (select id from due where place <= :per_webhook order by place limit :limit)
    for update skip locked
),
taken as (
    update webhook_deliveries set
        attempts = attempts + 1, next_at = clock_timestamp() + make_interval(secs => :for_s)
    where id in (select id from chosen) and state = 'pending'
    returning *
)
select t.id as delivery_id, t.webhook_id, t.position, t.attempts, w.url, w.secret, w.push_key, w.push_auth, e.session_id, e.seq, e.type, e.at,
    e.payload, e.output_seq, e.version, s.owner, s.user_id,
    e.session_id is not null and (k.role <> 'client' or s.owner = w.owner) as kept
from taken as t join webhooks as w on w.id = t.webhook_id join api_keys as k on k.id = w.owner
    left join events as e on e.session_id = t.session_id and e.seq = t.seq
    left join sessions as s on s.id = t.session_id
order by t.position;

-- name: finish
-- Records the outcome of an attempt. A retry is due in so many seconds.
update webhook_deliveries set
    state = :state, status = :status, error = :error, duration_ms = :duration_ms, sent_at = clock_timestamp(),
    next_at = clock_timestamp() + make_interval(secs => :retry_in_s)
where id = :id;

-- name: deliveries
-- Reads a page of the deliveries of a webhook, newest first. A null state means every one.
select id, position, session_id, seq, type, state, attempts, next_at, created_at, sent_at, status, error, duration_ms
from webhook_deliveries
where webhook_id = :webhook_id and (:state::text is null or state = :state) and (:before::uuid is null or id < :before)
order by id desc
limit :limit;

-- name: again
-- Makes deliveries due again, from their first attempt on: one, or every failed one. Returns how many.
with due as (
    update webhook_deliveries set state = 'pending', attempts = 0, next_at = clock_timestamp(), error = null
    where webhook_id = :webhook_id
      and case when :delivery_id::uuid is null then state = 'failed' else id = :delivery_id end
    returning id
)
select count(*) from due;

-- name: trim_deliveries
-- Removes finished deliveries that are older than so many seconds, a bounded number at once.
delete from webhook_deliveries where id in (
    select id from webhook_deliveries
    where state <> 'pending' and created_at < clock_timestamp() - make_interval(secs => :max_age_s)
    limit 5000
);
