-- name: erased
-- Reads the proof of an erasure.
select session_id, owner, erased_at, erased_by, found, remaining from erasures where session_id = :session_id;

-- name: lock_numbering
-- Makes the numbering of events wait until the transaction ends, so that it logs nothing of what is being erased.
select pg_advisory_xact_lock(hashtextextended('jelmore event log', 0));

-- name: lock_session
-- Locks a session's row until the transaction ends, and returns its owner and what prevents its erasure.
select owner, ended_at is null as live,
       exists (select from outbox where outbox.session_id = sessions.id) as unpublished
from sessions where id = :session_id for update;

-- name: unpublished
-- Returns whether events of a session wait to be published.
select exists (select from outbox where session_id = :session_id) as unpublished;

-- name: tables
-- Lists the tables whose rows belong to a session. Proofs of erasures and lines of an audit do not, nor does a cursor:
-- `refills` names a session only as a position.
select table_name from information_schema.columns join information_schema.tables using (table_schema, table_name)
where table_schema = current_schema() and column_name = 'session_id' and columns.data_type = 'uuid'
  and table_type = 'BASE TABLE' and table_name not in ('erasures', 'refills') and table_name not like 'audit%'
order by table_name;

-- name: count_rows
-- Counts a session's rows in one of the tables. The driver fills in the table's quoted name.
select count(*) from {table} where session_id = :session_id;

-- name: delete_rows
-- Deletes a session's rows in one of the tables.
delete from {table} where session_id = :session_id;

-- name: count_records
-- Counts the session's record itself.
select count(*) from sessions where id = :session_id;

-- name: delete_record
-- Deletes the session's record.
delete from sessions where id = :session_id;

-- name: keep_proof
-- Stores the proof of an erasure, replacing an earlier one.
insert into erasures (session_id, owner, erased_at, erased_by, found, remaining)
values (:session_id, :owner, clock_timestamp(), :erased_by, :found::jsonb, :remaining::jsonb)
on conflict (session_id) do update set
    erased_at = excluded.erased_at, erased_by = excluded.erased_by, found = excluded.found,
    remaining = excluded.remaining
returning session_id, owner, erased_at, erased_by, found, remaining;
