-- name: plan_each
-- Plans the queries of this transaction for their values: which filters are set decides which index serves.
set local plan_cache_mode = force_custom_plan;

-- name: page
-- Reads a page of sessions without their large fields, up to a total of bytes but at least one. Also returns how many
-- matched up to the limit. The driver fills in `{order}` and, from the conditions below, `{filters}`.
select * from (
    select *, sum(bytes) over (order by {order}) as sum_bytes, row_number() over (order by {order}) as place,
        count(*) over () as found
    from (
        select id, owner, user_id, status, wanted, presence, waiting_for, version, generation, event_seq, output_seq,
            restarts, created_at, last_activity_at, since, restarted_at, warned_at, ended_at, end_reason,
            container_id, agent_pid, current_directory, title, archived, pinned, tags, metadata, brief, query_start,
            usage, failure, '[]'::jsonb as pending, resources, unanswered, pending_inputs, token_epoch, tokens_rotated_at,
            warm_start, agent_connected,
            2000 + octet_length(metadata::text) + octet_length(unanswered::text) + octet_length(brief::text)
                + octet_length(pending_inputs::text)
                + coalesce(octet_length(failure::text), 0) as bytes
        from sessions
        where {filters}
        order by {order}
        limit :limit
    ) as page
) as summed
where sum_bytes <= :most_bytes or place = 1
order by {order};

-- name: total
-- Counts the sessions on all pages, up to `most` when it is not null.
select count(*) from (select from sessions where {filters} limit :most) as counted;

-- The conditions of a list, one for each filter. Only those that are set become part of a query: a condition that is
-- always true would still be evaluated for every row.

-- name: all
-- The condition of a list without filters.
true;

-- name: owner
-- Sessions that belong to this key.
owner = :owner;

-- name: user_id
-- Sessions of this user of the caller.
user_id = :user_id;

-- name: statuses
-- Sessions in one of these states.
status = any(:statuses::text[]);

-- name: live_statuses
-- Sessions in one of these states, none of which is of an ended session: the index of live sessions has all of them.
(status = any(:statuses::text[]) and ended_at is null);

-- name: presence
-- Live sessions of which so much is kept in memory.
(presence = :presence and ended_at is null);

-- name: archived
-- Only archived sessions, or none of them.
archived = :archived;

-- name: pinned
-- Only pinned sessions, or none of them.
pinned = :pinned;

-- name: waiting_for
-- Live sessions that wait for this.
(waiting_for = :waiting_for and ended_at is null);

-- name: created_after
-- Sessions created then or later.
created_at >= :created_after;

-- name: created_before
-- Sessions created before.
created_at < :created_before;

-- name: tags
-- Sessions with all these tags.
tags @> :tags::text[];

-- name: metadata
-- Sessions whose metadata has all values as text, or all with their types.
(metadata @> (:metadata::jsonb -> 0) or metadata @> (:metadata::jsonb -> 1));

-- name: metadata_number
-- Sessions whose metadata has a number within a bound under this name.
case when jsonb_typeof(metadata -> :key) = 'number' then (metadata ->> :key)::numeric {comparison} :bound::numeric
    else false end;

-- name: metadata_time
-- Sessions whose metadata has a date or time within a bound under this name, in UTC unless it has another zone.
case when jsonb_typeof(metadata -> :key) = 'string' and metadata ->> :key ~ :moment then
    ((metadata ->> :key) || case when metadata ->> :key ~ '(Z|[+-][0-9]{2}:[0-9]{2})$' then '' else 'Z' end)::timestamptz
        {comparison} :bound::timestamptz
    else false end;

-- name: words_found
-- Counts the prompts, answers and titles that have the words, up to `most`.
select count(*) from (
    select from search_text where words @@ websearch_to_tsquery('english', :words) limit :most
) as found;

-- name: few_words
-- Sessions with the words, when few texts have them: these are found first.
id = any(array(select session_id from search_text where words @@ websearch_to_tsquery('english', :words)));

-- name: many_words
-- Sessions with the words, when many texts have them: each session is looked at in the order of the list, which soon
-- fills a page.
exists (
    select from search_text
    where search_text.session_id = sessions.id and search_text.words @@ websearch_to_tsquery('english', :words)
);
