-- name: try_hold
-- Tries to become the one that publishes; the lock is held as long as the connection.
select pg_try_advisory_lock(hashtextextended('jelmore outbox', 0));

-- name: take
-- Reads the oldest unpublished events. Ids ascend with seq within a session, because its row is locked when they are given.
select e.session_id, e.seq, e.type, e.at, e.payload, e.output_seq, e.version
from outbox join events as e using (session_id, seq)
order by outbox.id
limit $1;

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
