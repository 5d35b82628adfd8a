-- name: lock_slots
-- Makes transactions that claim a slot wait for each other until they end.
select pg_advisory_xact_lock(hashtextextended('jelmore slots', 0));

-- name: count_slots
-- Counts the sessions that hold a slot: live sessions that have, or will soon have, a container.
select count(*) from sessions where ended_at is null and presence <> 'hibernated';

-- name: under_way
-- Lists the newest sessions with a turn that runs or is about to begin, because they start or resume with an input, and
-- counts all of them.
select id, count(*) over () as total from sessions
where ended_at is null and presence <> 'hibernated' and (status in ('active', 'initializing') or pending_inputs <> '[]')
order by created_at desc, id desc limit :limit;

-- name: known_request
-- Finds the session that an idempotency key created.
select session_id, request_digest from idempotency_keys where owner = :owner and key = :key;

-- name: remember_request
-- Stores an idempotency key with the session that it created.
insert into idempotency_keys (owner, key, request_digest, session_id)
values (:owner, :key, :request_digest, :session_id);

-- name: create
-- Inserts a session with its first events, if a slot is free. With `claims` it gets a ready member of the warm pool that has
-- its shape, and the id of it, the oldest of its profile before those of others: one that another transaction takes just now is skipped, and none is taken when
-- nobody has looked for a minute (in a database that was restored, they may be sandboxes of sessions that it lacks). A create
-- that finds none is counted here; one that gets a member counts when its session starts, as its stage is known then.
-- Returns the slots in use before it, and nothing else when they are all in use.
with slots as (
    select count(*) as used from sessions where ended_at is null and presence <> 'hibernated'
),
claimed as (
    delete from pool where :claims and (select used from slots) < :most_live and id = (
        select id from pool
        where state = 'ready' and exists (select from leases where name = 'pool/well' and expires_at > now())
            and recipe = :recipe and memory_bytes = :memory_bytes and cpus = :cpus and pids = :pids
        order by profile <> :profile, created_at, id limit 1 for update skip locked
    )
    returning id
),
counted as (
    insert into pool_claims (stage, claims)
    select 'none', 1 where :claims and (select used from slots) < :most_live and not exists (select from claimed)
    on conflict (stage) do update set claims = pool_claims.claims + 1
),
saved as (
    insert into sessions (
        id, owner, user_id, status, wanted, presence, waiting_for, version, generation, event_seq, output_seq,
        restarts, created_at, last_activity_at, since, restarted_at, warned_at, ended_at, end_reason, container_id,
        agent_pid, current_directory, title, archived, pinned, tags, metadata, spec, usage, failure, pending, resources,
        unanswered, pending_inputs, token_epoch, tokens_rotated_at, warm_start, agent_connected
    )
    select
        coalesce((select id from claimed), :id), :owner, :user_id, :status, :wanted, :presence, :waiting_for,
        :version + 1, :generation, cardinality(:event_types::text[]), :output_seq, :restarts, :created_at, :last_activity_at, :since,
        :restarted_at, :warned_at, :ended_at, :end_reason, :container_id, :agent_pid, :current_directory, :title,
        :archived, :pinned, :tags::text[], :metadata::jsonb, :spec::jsonb, :usage::jsonb, :failure::jsonb, :pending::jsonb,
        :resources::jsonb, :unanswered::jsonb, :pending_inputs::jsonb, :token_epoch, :tokens_rotated_at,
        case when exists (select from claimed) then 'runner' else :warm_start end, :agent_connected
    where (select used from slots) < :most_live
    returning id, version, event_seq
),
new_events as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select saved.id, saved.event_seq - cardinality(:event_types::text[]) + draft.n, draft.type, clock_timestamp(),
           draft.payload::jsonb, draft.output_seq, saved.version
    from saved, unnest(:event_types::text[], :event_payloads::text[], :event_output_seqs::bigint[])
        with ordinality as draft (type, payload, output_seq, n)
    order by draft.n
    returning session_id, seq
),
queued as (
    insert into outbox (session_id, seq) select session_id, seq from new_events order by seq
),
titled as (
    insert into search_text (session_id, seq, words)
    select id, 0, to_tsvector('english', :title::text) from saved where :title::text is not null
)
select slots.used, saved.id, saved.version, saved.event_seq, exists (select from claimed) as claimed
from slots left join saved on true;

-- name: save
-- Writes the state of a session, its events, its output and what its turns used in one round trip, if its version is
-- still the given one.
-- Leaves out the spec and metadata, which may be large and seldom change: see `save_spec`.
with saved as (
    update sessions set
        status = :status, wanted = :wanted, presence = :presence, waiting_for = :waiting_for, version = version + 1,
        generation = :generation, event_seq = event_seq + cardinality(:event_types::text[]),
        output_seq = :output_seq, restarts = :restarts, last_activity_at = :last_activity_at, since = :since,
        restarted_at = :restarted_at, warned_at = :warned_at, ended_at = :ended_at, end_reason = :end_reason,
        container_id = :container_id, agent_pid = :agent_pid, current_directory = :current_directory,
        title = :title, archived = :archived, pinned = :pinned, tags = :tags::text[], usage = :usage::jsonb, failure = :failure::jsonb,
        pending = :pending::jsonb, resources = :resources::jsonb, unanswered = :unanswered::jsonb,
        pending_inputs = :pending_inputs::jsonb, token_epoch = :token_epoch, tokens_rotated_at = :tokens_rotated_at, warm_start = :warm_start,
        agent_connected = :agent_connected, updated_at = now()
    where id = :id and version = :version
    returning id, version, event_seq, owner, user_id
),
new_events as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select saved.id, saved.event_seq - cardinality(:event_types::text[]) + draft.n, draft.type, clock_timestamp(),
           draft.payload::jsonb, draft.output_seq, saved.version
    from saved, unnest(:event_types::text[], :event_payloads::text[], :event_output_seqs::bigint[])
        with ordinality as draft (type, payload, output_seq, n)
    order by draft.n
    returning session_id, seq
),
queued as (
    insert into outbox (session_id, seq) select session_id, seq from new_events order by seq
),
counted as (
    insert into pool_claims (stage, claims) select :started_stage::text, 1 from saved where :started_stage::text is not null
    on conflict (stage) do update set claims = pool_claims.claims + 1
),
kept as (
    insert into output (session_id, seq, kind, at, text)
    select saved.id, line.seq, line.kind, line.at, line.text
    from saved,
        unnest(:output_seqs::bigint[], :output_kinds::text[], :output_ats::timestamptz[], :output_texts::text[])
        as line (seq, kind, at, text)
    on conflict do nothing
),
found_by as (
    insert into search_text (session_id, seq, words)
    select saved.id, message.seq, to_tsvector('english', message.text)
    from saved, unnest(:search_seqs::bigint[], :search_texts::text[]) as message (seq, text)
    on conflict do nothing
),
used as (
    insert into usage_turns (
        session_id, seq, model, at, owner, user_id, turns, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, cost_usd
    )
    select saved.id, turn.seq, turn.model, turn.at, saved.owner, coalesce(saved.user_id, ''), turn.turns,
        turn.input_tokens, turn.output_tokens, turn.cache_read_tokens, turn.cache_write_tokens, turn.cost_usd
    from saved, unnest(
        :usage_seqs::bigint[], :usage_models::text[], :usage_ats::timestamptz[], :usage_turns::integer[],
        :usage_inputs::bigint[], :usage_outputs::bigint[], :usage_cache_reads::bigint[], :usage_cache_writes::bigint[],
        :usage_costs::double precision[]
    ) as turn (
        seq, model, at, turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd
    )
    on conflict do nothing
    returning *
),
summed as (
    insert into usage_days (
        day, owner, user_id, model, turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd
    )
    select (at at time zone 'utc')::date as day, owner, user_id, model, sum(turns), sum(input_tokens),
        sum(output_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(cost_usd)
    from used group by day, owner, user_id, model order by day, owner, user_id, model
    on conflict (day, owner, user_id, model) do update set
        turns = usage_days.turns + excluded.turns,
        input_tokens = usage_days.input_tokens + excluded.input_tokens,
        output_tokens = usage_days.output_tokens + excluded.output_tokens,
        cache_read_tokens = usage_days.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = usage_days.cache_write_tokens + excluded.cache_write_tokens,
        cost_usd = usage_days.cost_usd + excluded.cost_usd
),
titled as (
    insert into search_text (session_id, seq, words)
    select id, 0, to_tsvector('english', coalesce(:title::text, '')) from saved
    where exists (select from sessions where sessions.id = :id and sessions.title is distinct from :title::text)
    on conflict (session_id, seq) do update set words = excluded.words
)
select version, event_seq from saved;

-- name: save_spec
-- Writes the spec and metadata, which `save` leaves out. Runs after it in the same transaction.
update sessions set user_id = :user_id, metadata = :metadata::jsonb, spec = :spec::jsonb where id = :id;

-- name: load
-- Reads one session.
select * from sessions where id = :id;

-- name: rotated_tokens
-- Lists the sessions whose tokens were rotated at or after a given time, with the epoch that tokens need now.
select id, token_epoch from sessions where tokens_rotated_at >= :since;

-- name: load_many
-- Reads several sessions at once.
select * from sessions where id = any(:ids::uuid[]);

-- name: unfinished
-- Lists the live sessions, oldest first.
select id from sessions where ended_at is null order by id;

-- name: count
-- Counts all sessions.
select count(*) from sessions;

-- name: stats
-- Counts sessions by status, of one owner or of all.
select status, count(*) as sessions from sessions where :owner::text is null or owner = :owner group by status;

-- name: totals
-- Sums the usage of live sessions, of one owner or of all. Memory and processes count only with a container.
select
    coalesce(sum((resources #>> '{reading,memory_bytes}')::bigint) filter (where presence <> 'hibernated'), 0)::bigint
        as memory_bytes,
    coalesce(sum((resources #>> '{reading,pids}')::bigint) filter (where presence <> 'hibernated'), 0)::bigint as pids,
    coalesce(sum((resources #>> '{reading,workspace_bytes}')::bigint), 0)::bigint as workspace_bytes
from sessions where ended_at is null and (:owner::text is null or owner = :owner);

-- name: waiting_events
-- Counts the events that wait to be published.
select count(*) from outbox;

-- name: lags
-- Returns how many seconds the oldest waits: an event to be published, an event to get its position, a webhook that is
-- due to be called.
select
    coalesce(extract(epoch from now() - (
        select events.at from (select session_id, seq from outbox order by id limit 1) as oldest
        join events using (session_id, seq)
    )), 0)::float8 as outbox_s,
    coalesce(extract(epoch from now() - (
        select events.at from (select session_id, seq from event_arrivals order by id limit 1) as oldest
        join events using (session_id, seq)
    )), 0)::float8 as event_log_s,
    coalesce(extract(epoch from now() - (
        select min(next_at) from webhook_deliveries where state = 'pending' and next_at < now()
    )), 0)::float8 as webhooks_s;

-- name: lock_session
-- Locks a session's row until the transaction ends, and returns what prevents its deletion.
select ended_at is null as live,
       exists (select from outbox where outbox.session_id = sessions.id) as unpublished
from sessions where id = :id for update;

-- name: forget
-- Deletes a session and everything that belongs to it. Foreign keys delete its probes and idempotency keys.
with deleted_output as (delete from output where session_id = :id),
     deleted_usage as (delete from usage_turns where session_id = :id),
     deleted_words as (delete from search_text where session_id = :id),
     deleted_events as (delete from events where session_id = :id)
delete from sessions where id = :id;

-- name: expired
-- Lists the sessions that ended before a given time, the earliest first.
select id from sessions where ended_at < :ended_before order by ended_at;
