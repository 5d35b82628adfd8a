-- name: bounds
-- Reads the oldest position that is kept and the newest one. Without any, the oldest is the next one.
select coalesce((select min(position) from event_log), last + 1) as oldest, last as newest from event_positions;

-- name: look
-- Reads the newest position, and whether events wait for one and this transaction may number them.
select last, case when exists (select from event_arrivals)
    then pg_try_advisory_xact_lock(hashtextextended('jelmore event log', 0)) else false end as mine
from event_positions;

-- name: number
-- Gives the next positions to committed events, and returns how many got one and the newest. Runs in the transaction
-- that holds the lock, after `look`, so that it sees what the holder before has committed.
with taken as (
    delete from event_arrivals where id in (select id from event_arrivals order by id limit :limit)
    returning id, session_id, seq
),
counted as (
    update event_positions set last = last + (select count(*) from taken) returning last
),
logged as (
    insert into event_log (position, session_id, seq)
    select counted.last - (select count(*) from taken) + row_number() over (order by taken.id), session_id, seq
    from taken cross join counted
)
select (select count(*) from taken) as numbered, last from counted;

-- name: span
-- Reads how far a window of positions after a cursor reaches, and whether more events follow it.
select coalesce(max(position), :after::bigint) as until, count(*) >= :window as more
from (select position from event_log where position > :after::bigint order by position limit :window) as spanned;

-- name: read
-- Reads the events of a window that match, in order, up to a number and a total of payload bytes but at least one. Also
-- returns how many matched up to the number. A null parameter or an empty list means no filter.
select * from (
    select *, sum(octet_length(payload::text)) over (order by position) as bytes,
        row_number() over (order by position) as place, count(*) over () as found
    from (
        select l.position, e.session_id, e.seq, e.type, e.at, e.payload, e.output_seq, e.version, s.owner, s.user_id
        from event_log as l join events as e using (session_id, seq) left join sessions as s on s.id = l.session_id
        where l.position > :after and l.position <= :until
          and (:owner::text is null or s.owner = :owner)
          and (:session_id::uuid is null or l.session_id = :session_id)
          and (:user_id::text is null or s.user_id = :user_id)
          and (cardinality(:types::text[]) = 0 or e.type = any(:types))
        order by l.position
        limit :limit
    ) as page
) as summed
where bytes <= :max_bytes or place = 1
order by position;

-- name: trim
-- Removes the oldest entries that are older than so many seconds, a bounded number at once, and returns how many.
with outdated as (
    select position from (select position, at from event_log order by position limit 5000) as oldest
    where at < clock_timestamp() - make_interval(secs => :max_age_s)
),
removed as (
    delete from event_log where position in (select position from outdated) returning position
)
select count(*) from removed;
