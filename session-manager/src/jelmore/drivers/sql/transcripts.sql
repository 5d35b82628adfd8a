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
-- Returns where to cut the conversation of the last prompt that is kept: before the first one that is dropped.
with last_kept as (
    select conversation_id from transcripts
    where session_id = :session_id and subpath = '' and uuid = any(:kept::text[]) order by seq desc limit 1
),
cut as (
    select last_kept.conversation_id, coalesce(min(transcripts.seq), 9223372036854775807) as before
    from last_kept left join transcripts on transcripts.session_id = :session_id
        and transcripts.conversation_id = last_kept.conversation_id
        and transcripts.subpath = '' and transcripts.uuid = any(:dropped::text[])
    group by last_kept.conversation_id
)
select cut.conversation_id, cut.before, count(transcripts.uuid) as messages
from cut join transcripts on transcripts.session_id = :session_id
    and transcripts.conversation_id = cut.conversation_id and transcripts.subpath = '' and transcripts.seq < cut.before
group by cut.conversation_id, cut.before;

-- name: copy
-- Copies the beginning of a conversation to another session.
insert into transcripts (session_id, seq, conversation_id, subpath, uuid, entry)
select :to_session_id::uuid, seq, conversation_id, subpath, uuid, entry from transcripts
where session_id = :session_id and conversation_id = :conversation_id and seq < :before
on conflict do nothing;
