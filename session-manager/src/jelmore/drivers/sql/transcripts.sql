-- name: stored
-- Returns the newest line, the newest conversation, how many messages its main transcript has, and the bytes of all.
with newest as (
    select conversation_id from transcripts where session_id = :session_id and subpath = '' order by seq desc limit 1
)
select max(seq) as seq, (select conversation_id from newest) as conversation_id,
    count(uuid) filter (where subpath = '' and conversation_id = (select conversation_id from newest)) as messages,
    coalesce(sum(octet_length(entry)), 0)::bigint as bytes
from transcripts where session_id = :session_id;

-- name: add
-- Stores lines of a session that exists. A line that is stored already stays as it is.
insert into transcripts (session_id, seq, conversation_id, subpath, uuid, entry)
select sessions.id, line.seq, line.conversation_id, line.subpath, line.uuid, line.entry
from sessions, unnest(:seqs::bigint[], :conversation_ids::text[], :subpaths::text[], :uuids::text[], :entries::text[])
    as line (seq, conversation_id, subpath, uuid, entry)
where sessions.id = :session_id
on conflict do nothing;

-- name: reset
-- Deletes the main transcript of a conversation up to a line, because all of it follows once more.
delete from transcripts
where session_id = :session_id and conversation_id = :conversation_id and subpath = '' and seq < :seq;

-- name: keep_only
-- Deletes the transcripts of a session's other conversations.
delete from transcripts where session_id = :session_id and conversation_id <> :conversation_id;

-- name: page
-- Reads the next entries of a conversation, at most 200 and about 4 MiB, but at least one.
select seq, subpath, uuid, entry
from (
    select seq, subpath, uuid, entry, sum(octet_length(entry)) over (order by seq) - octet_length(entry) as before
    from (
        select seq, subpath, uuid, entry from transcripts
        where session_id = :session_id and conversation_id = :conversation_id and seq > :after
        order by seq limit 200
    ) as page
) as sized
where before < 4194304 order by seq;

-- name: cut
-- Returns where to cut the conversation of the last prompt that is kept: behind the last message before the first one
-- that is dropped. What lies between has no uuid and belongs to the dropped prompt.
with last_kept as (
    select conversation_id from transcripts
    where session_id = :session_id and subpath = '' and uuid = any(:kept::text[]) order by seq desc limit 1
),
messages as (
    select conversation_id, seq, uuid from transcripts join last_kept using (conversation_id)
    where session_id = :session_id and subpath = '' and uuid is not null
),
first_dropped as (
    select coalesce(min(seq), 9223372036854775807) as seq from messages where uuid = any(:dropped::text[])
)
select messages.conversation_id, count(*) as messages,
    case when first_dropped.seq = 9223372036854775807 then first_dropped.seq else max(messages.seq) + 1 end as before
from messages, first_dropped where messages.seq < first_dropped.seq
group by messages.conversation_id, first_dropped.seq;

-- name: copy
-- Copies the beginning of a conversation to another session.
insert into transcripts (session_id, seq, conversation_id, subpath, uuid, entry)
select :to_session_id::uuid, seq, conversation_id, subpath, uuid, entry from transcripts
where session_id = :session_id and conversation_id = :conversation_id and seq < :before
on conflict do nothing;
