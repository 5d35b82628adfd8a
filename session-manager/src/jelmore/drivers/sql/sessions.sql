-- name: lock_slots
-- Makes claims of a slot wait for each other until the transaction ends.
select pg_advisory_xact_lock(hashtextextended('jelmore slots', 0));

-- name: count_slots
-- Counts the sessions that hold a slot: those that live and have, or will soon have, a container.
select count(*) from sessions where ended_at is null and presence <> 'hibernated';

-- name: known_request
-- Finds what an idempotency key was used for.
select session_id, request_digest from idempotency_keys where owner = $1 and key = $2;

-- name: remember_request
-- Ties an idempotency key to the session it made.
insert into idempotency_keys (owner, key, request_digest, session_id) values ($1, $2, $3, $4);

-- name: create
-- Inserts a session with its first events; parameters as in `save`.
with saved as (
    insert into sessions (
        id, owner, user_id, status, wanted, presence, waiting_for, version, generation, event_seq, output_seq,
        restarts, created_at, last_activity_at, since, restarted_at, warned_at, ended_at, end_reason, container_id,
        agent_pid, current_directory, title, archived, metadata, spec, usage, failure, pending,
        resources, unanswered
    ) values (
        $1, $3, $4, $5, $6, $7, $8, $2 + 1, $9, cardinality($27::text[]), $10,
        $11, $12, $13, $14, $15, $16, $17, $18, $19,
        $20, $21, $22, $23, $24::jsonb, $25::jsonb, $26::jsonb, $30::jsonb, $31::jsonb,
        $32::jsonb, $33::jsonb
    )
    returning id, version, event_seq
),
told as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select saved.id, saved.event_seq - cardinality($27::text[]) + draft.n, draft.type, clock_timestamp(),
           draft.payload::jsonb, draft.output_seq, saved.version
    from saved, unnest($27::text[], $28::text[], $29::bigint[]) with ordinality as draft (type, payload, output_seq, n)
    order by draft.n
    returning session_id, seq
),
queued as (
    insert into outbox (session_id, seq) select session_id, seq from told order by seq
)
select version, event_seq from saved;

-- name: save
-- Writes a session if its version is still the given one, with its events and output, in one round trip.
with saved as (
    update sessions set
        owner = $3, user_id = $4, status = $5, wanted = $6, presence = $7, waiting_for = $8, version = version + 1,
        generation = $9, event_seq = event_seq + cardinality($27::text[]), output_seq = $10, restarts = $11,
        created_at = $12, last_activity_at = $13, since = $14, restarted_at = $15, warned_at = $16, ended_at = $17,
        end_reason = $18, container_id = $19, agent_pid = $20, current_directory = $21, title = $22, archived = $23,
        metadata = $24::jsonb, spec = $25::jsonb, usage = $26::jsonb, failure = $30::jsonb,
        pending = $31::jsonb, resources = $32::jsonb, unanswered = $33::jsonb, updated_at = now()
    where id = $1 and version = $2
    returning id, version, event_seq
),
told as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select saved.id, saved.event_seq - cardinality($27::text[]) + draft.n, draft.type, clock_timestamp(),
           draft.payload::jsonb, draft.output_seq, saved.version
    from saved, unnest($27::text[], $28::text[], $29::bigint[]) with ordinality as draft (type, payload, output_seq, n)
    order by draft.n
    returning session_id, seq
),
queued as (
    insert into outbox (session_id, seq) select session_id, seq from told order by seq
),
kept as (
    insert into output (session_id, seq, kind, at, text)
    select saved.id, line.seq, line.kind, line.at, line.text
    from saved, unnest($34::bigint[], $35::text[], $36::timestamptz[], $37::text[]) as line (seq, kind, at, text)
    on conflict do nothing
)
select version, event_seq from saved;

-- name: load
-- Reads one session.
select * from sessions where id = $1;

-- name: load_many
-- Reads several sessions at once.
select * from sessions where id = any($1::uuid[]);

-- name: unfinished
-- Lists the live sessions, oldest first.
select id from sessions where ended_at is null order by id;

-- name: count
-- Counts all sessions.
select count(*) from sessions;

-- name: list
-- Reads a page of sessions, newest first; a null parameter does not filter.
select * from sessions
where ($1::uuid is null or id < $1)
  and ($2::text is null or owner = $2)
  and ($3::text is null or user_id = $3)
  and ($4::text is null or status = $4)
  and ($5::boolean is null or archived = $5)
  and metadata @> $6::jsonb
order by id desc
limit $7;

-- name: count_list
-- Counts the sessions of all pages of `list`.
select count(*) from sessions
where ($1::text is null or owner = $1)
  and ($2::text is null or user_id = $2)
  and ($3::text is null or status = $3)
  and ($4::boolean is null or archived = $4)
  and metadata @> $5::jsonb;

-- name: stats
-- Counts sessions by status, of one owner or of all.
select status, count(*) as sessions from sessions where $1::text is null or owner = $1 group by status;

-- name: totals
-- Adds up what the live sessions use, of one owner or of all; memory and processes of those with a container.
select
    coalesce(sum((resources #>> '{reading,memory_bytes}')::bigint) filter (where presence <> 'hibernated'), 0)::bigint
        as memory_bytes,
    coalesce(sum((resources #>> '{reading,pids}')::bigint) filter (where presence <> 'hibernated'), 0)::bigint as pids,
    coalesce(sum((resources #>> '{reading,workspace_bytes}')::bigint), 0)::bigint as workspace_bytes
from sessions where ended_at is null and ($1::text is null or owner = $1);

-- name: waiting_events
-- Counts the events that wait to be published.
select count(*) from outbox;

-- name: lock_session
-- Holds a session's row until the transaction ends, and tells what stands against deleting it.
select ended_at is null as live,
       exists (select from outbox where outbox.session_id = sessions.id) as unpublished
from sessions where id = $1 for update;

-- name: forget
-- Deletes a session and all that belongs to it; probes and idempotency keys follow by their foreign keys.
with deleted_output as (delete from output where session_id = $1),
     deleted_events as (delete from events where session_id = $1)
delete from sessions where id = $1;

-- name: expired
-- Lists the sessions that ended before a moment, longest ago first.
select id from sessions where ended_at < $1 order by ended_at;
