-- name: output
-- Reads stored output above a seq, in order, up to a total of bytes but at least one line. Also returns how many lines
-- matched up to the limit. An empty list of kinds means no filter, null bytes mean no bound.
select seq, kind, at, text, found from (
    select *, sum(octet_length(text)) over (order by seq) as bytes, row_number() over (order by seq) as place,
        count(*) over () as found
    from (
        select seq, kind, at, text from output
        where session_id = :session_id and seq > :after and (cardinality(:kinds::text[]) = 0 or kind = any(:kinds))
        order by seq
        limit :limit
    ) as page
) as summed
where :max_bytes::bigint is null or bytes <= :max_bytes or place = 1
order by seq;

-- name: inputs
-- Reads the stored inputs above a seq, as `output` reads output: their kind stands here, so that their index is used.
select seq, kind, at, text, found from (
    select *, sum(octet_length(text)) over (order by seq) as bytes, row_number() over (order by seq) as place,
        count(*) over () as found
    from (
        select seq, kind, at, text from output
        where session_id = :session_id and seq > :after and kind = 'input'
        order by seq
        limit :limit
    ) as page
) as summed
where :max_bytes::bigint is null or bytes <= :max_bytes or place = 1
order by seq;

-- name: events
-- Reads stored events above a seq, in order. Bounded like output, by the bytes of the payloads.
select session_id, seq, type, at, payload, output_seq, version, found from (
    select *, sum(octet_length(payload::text)) over (order by seq) as bytes,
        row_number() over (order by seq) as place, count(*) over () as found
    from (
        select session_id, seq, type, at, payload, output_seq, version from events
        where session_id = :session_id and seq > :after and (cardinality(:types::text[]) = 0 or type = any(:types))
        order by seq
        limit :limit
    ) as page
) as summed
where :max_bytes::bigint is null or bytes <= :max_bytes or place = 1
order by seq;

-- name: note
-- Records a system event. The update of a single row numbers these events without a gap.
with numbered as (
    update system_events set event_seq = event_seq + 1 returning event_seq
),
new_events as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select :session_id, event_seq, :type, clock_timestamp(), :payload::jsonb, :output_seq, 0 from numbered
    returning session_id, seq
)
insert into outbox (session_id, seq) select session_id, seq from new_events;

-- name: probe
-- Stores a health check of a session that exists. Keeps the newest hundred per session.
with outdated as (
    delete from probes where id in (select id from probes where session_id = :session_id order by id desc offset 99)
)
insert into probes (session_id, at, healthy, latency_ms, message, reading)
select id, :at, :healthy, :latency_ms, :message, :reading::jsonb from sessions where id = :session_id;

-- name: probes
-- Reads the stored health checks, newest first.
select at, healthy, latency_ms, message, reading from probes where session_id = :session_id order by id desc limit 100;
