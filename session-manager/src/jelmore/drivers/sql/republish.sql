-- name: look
-- Reads the next stored events after a position, up to a number, and whether they match and are not in the outbox
-- already. Looks at the rows in the order of the key, so that each call costs the same, whatever the filter.
select session_id, seq,
    (:since::timestamptz is null or at >= :since) and (:until::timestamptz is null or at < :until)
        and not exists (select from outbox where outbox.session_id = e.session_id and outbox.seq = e.seq) as matches
from events as e
where (session_id, seq) > (:after_session, :after_seq) and session_id <= :last_session
order by session_id, seq
limit :limit;

-- name: put_back
-- Puts events into the outbox again, in order, with a mark.
insert into outbox (session_id, seq, again)
select e.session_id, e.seq, :again
from unnest(:session_ids::uuid[], :seqs::bigint[]) as chosen (session_id, seq) join events as e using (session_id, seq)
order by e.session_id, e.seq
on conflict (session_id, seq) do nothing;

-- name: waiting
-- Counts the events that are not published yet.
select count(*) from outbox;
