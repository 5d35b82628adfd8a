-- name: try_hold
-- Tries to become the publisher. The lock is held until the connection closes.
select pg_try_advisory_lock(hashtextextended('jelmore outbox', 0));

-- name: take
-- Reads the oldest unpublished events, up to a number and a total of bytes, but at least one. Ids ascend with seq
-- within a session, because its row is locked when they are assigned. Reads row by row, so that with a large backlog
-- it opens no more payloads than it returns.
with recursive taken as (
    (
        select outbox.id, session_id, seq, again, 1 as place, octet_length(e.payload::text)::bigint as bytes
        from outbox join events as e using (session_id, seq)
        order by outbox.id
        limit 1
    )
    union all
    select next.id, next.session_id, next.seq, next.again, taken.place + 1, taken.bytes + next.bytes
    from taken cross join lateral (
        select outbox.id, session_id, seq, again, octet_length(e.payload::text) as bytes
        from outbox join events as e using (session_id, seq)
        where outbox.id > taken.id
        order by outbox.id
        limit 1
    ) as next
    where taken.place < :limit and taken.bytes + next.bytes <= :max_bytes
)
select e.session_id, e.seq, e.type, e.at, e.payload, e.output_seq, e.version, taken.again
from taken join events as e using (session_id, seq)
where taken.place <= :limit
order by taken.id;

-- name: done
-- Removes published events from the outbox.
delete from outbox using unnest(:session_ids::uuid[], :seqs::bigint[]) as published (session_id, seq)
where outbox.session_id = published.session_id and outbox.seq = published.seq;

-- name: kept
-- Reads the next events to publish again on a stream that lost them, after the cursor stored for it. The oldest session
-- comes first, because session ids ascend in time. Skips events that are still in the outbox: they are published from
-- there. Reads row by row, as in `take`. The cursor begins at the nil session, which holds the system events.
with recursive start as (
    select coalesce((select session_id from refills where stream = :stream), '00000000-0000-0000-0000-000000000000') as id,
           coalesce((select seq from refills where stream = :stream), 0) as seq
),
found as (
    (
        select e.session_id, e.seq, 1 as place, octet_length(e.payload::text)::bigint as bytes
        from start cross join lateral (
            select * from events
            where (session_id, seq) > (start.id, start.seq)
              and not exists (
                  select from outbox where outbox.session_id = events.session_id and outbox.seq = events.seq
              )
            order by session_id, seq
            limit 1
        ) as e
    )
    union all
    select e.session_id, e.seq, found.place + 1, found.bytes + octet_length(e.payload::text)
    from found cross join lateral (
        select * from events
        where (session_id, seq) > (found.session_id, found.seq)
          and not exists (
              select from outbox where outbox.session_id = events.session_id and outbox.seq = events.seq
          )
        order by session_id, seq
        limit 1
    ) as e
    where found.place < :limit and found.bytes + octet_length(e.payload::text) <= :max_bytes
)
select e.session_id, e.seq, e.type, e.at, e.payload, e.output_seq, e.version
from found join events as e using (session_id, seq)
where found.place <= :limit
order by e.session_id, e.seq;

-- name: kept_until
-- Advances the cursor of `kept`. Removes the cursor of any other stream.
insert into refills (stream, session_id, seq) values (:stream, :session_id, :seq)
on conflict (only_row) do update set stream = excluded.stream, session_id = excluded.session_id, seq = excluded.seq;
