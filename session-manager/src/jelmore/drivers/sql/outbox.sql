-- name: try_hold
-- Tries to become the one that publishes; the lock is held as long as the connection.
select pg_try_advisory_lock(hashtextextended('jelmore outbox', 0));

-- name: take
-- Reads the oldest unpublished events: so many, and of so many bytes together, but always one. Ids ascend with seq
-- within a session, because its row is locked when they are given. One after another, so that of a large backlog no
-- more payloads are opened than are taken.
with recursive taken as (
    (
        select outbox.id, session_id, seq, 1 as place, octet_length(e.payload::text)::bigint as bytes
        from outbox join events as e using (session_id, seq)
        order by outbox.id
        limit 1
    )
    union all
    select next.id, next.session_id, next.seq, taken.place + 1, taken.bytes + next.bytes
    from taken cross join lateral (
        select outbox.id, session_id, seq, octet_length(e.payload::text) as bytes
        from outbox join events as e using (session_id, seq)
        where outbox.id > taken.id
        order by outbox.id
        limit 1
    ) as next
    where taken.place < $1 and taken.bytes + next.bytes <= $2
)
select e.session_id, e.seq, e.type, e.at, e.payload, e.output_seq, e.version
from taken join events as e using (session_id, seq)
where taken.place <= $1
order by taken.id;

-- name: done
-- Forgets what has been published.
delete from outbox using unnest($1::uuid[], $2::bigint[]) as published (session_id, seq)
where outbox.session_id = published.session_id and outbox.seq = published.seq;

-- name: stop_writers
-- Keeps new events out while the outbox is filled again, lest one overtake the older ones of its session.
lock table outbox in exclusive mode;

-- name: clear
-- Empties the outbox, to be filled again in order.
delete from outbox;

-- name: again
-- Queues every kept event. Clocks may step back, so the time of a session's event is the latest so far.
insert into outbox (session_id, seq)
select session_id, seq
from (select session_id, seq, max(at) over (partition by session_id order by seq) as not_before from events) as kept
order by not_before, session_id, seq;
