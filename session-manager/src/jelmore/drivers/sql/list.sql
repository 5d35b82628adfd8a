-- name: plan_each
-- Plans the queries of this transaction for their values: which filters are set decides which index serves.
set local plan_cache_mode = force_custom_plan;

-- name: page
-- Reads a page of sessions without their large fields, up to a total of bytes but at least one. Also returns how many
-- matched up to the limit. The driver fills in `{after}`, `{order}` and, from the queries below, `{filters}`.
select * from (
    select *, sum(bytes) over (order by {order}) as sum_bytes, row_number() over (order by {order}) as place,
        count(*) over () as found
    from (
        select id, owner, user_id, status, wanted, presence, waiting_for, version, generation, event_seq, output_seq,
            restarts, created_at, last_activity_at, since, restarted_at, warned_at, ended_at, end_reason,
            container_id, agent_pid, current_directory, title, archived, pinned, tags, metadata, brief, query_start,
            usage, failure, '[]'::jsonb as pending, resources, unanswered, token_epoch, tokens_rotated_at,
            warm_start, agent_connected,
            2000 + octet_length(metadata::text) + octet_length(unanswered::text) + octet_length(brief::text)
                + coalesce(octet_length(failure::text), 0) as bytes
        from sessions
        where {after} and {filters}
        order by {order}
        limit :limit
    ) as page
) as summed
where sum_bytes <= :most_bytes or place = 1
order by {order};

-- name: total
-- Counts the sessions on all pages, up to `most` when it is not null.
select count(*) from (select from sessions where {filters} limit :most) as counted;

-- name: filters
-- The conditions of a list. A null parameter means no filter.
(:owner::text is null or owner = :owner)
and (:user_id::text is null or user_id = :user_id)
and (:status::text is null or status = :status)
and (:archived::boolean is null or archived = :archived)
and (:pinned::boolean is null or pinned = :pinned)
and (:waiting_for::text is null or (waiting_for = :waiting_for and ended_at is null))
and (:created_after::timestamptz is null or created_at >= :created_after)
and (:created_before::timestamptz is null or created_at < :created_before)
and (cardinality(:tags::text[]) = 0 or tags @> :tags)
and (metadata @> (:metadata::jsonb -> 0) or metadata @> (:metadata::jsonb -> 1));

-- name: words
-- The condition that a search adds to the filters: one prompt, answer or title has the words.
and exists (
    select from search_text
    where search_text.session_id = sessions.id and search_text.words @@ websearch_to_tsquery('english', :words)
);
