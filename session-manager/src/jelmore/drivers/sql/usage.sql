-- name: by_days
-- Sums what was used on some days (in UTC) by day, user, key or model, and in all (`is_total`). A null owner means all.
select case :by when 'day' then day::text when 'user' then user_id when 'key' then owner else model end as name,
    grouping(case :by when 'day' then day::text when 'user' then user_id when 'key' then owner else model end) = 1
        as is_total,
    coalesce(sum(turns), 0)::bigint as turns, coalesce(sum(input_tokens), 0)::bigint as input_tokens,
    coalesce(sum(output_tokens), 0)::bigint as output_tokens,
    coalesce(sum(cache_read_tokens), 0)::bigint as cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint as cache_write_tokens, coalesce(sum(cost_usd), 0) as cost_usd
from usage_days
where day between :since::date and :until::date and (:owner::text is null or owner = :owner)
group by grouping sets
    ((case :by when 'day' then day::text when 'user' then user_id when 'key' then owner else model end), ())
order by is_total desc, case when :by::text = 'day' then null else sum(cost_usd) end desc, name
limit :limit::bigint + 1;

-- name: by_turns
-- Sums turns of some days as `by_days`, also by session or turn, and of one session if there is `session_id`. What was used
-- by erased sessions is missing in it. What no turn reported has no turn's name.
with used as (
    select session_id, seq, at, owner, user_id, model, turns, input_tokens, output_tokens, cache_read_tokens,
        cache_write_tokens, cost_usd
    from usage_turns
    union all
    select session_id, null, day::timestamp at time zone 'utc', owner, user_id, model, 0, input_tokens, output_tokens,
        cache_read_tokens, cache_write_tokens, cost_usd
    from usage_unreported
)
select name, is_total, turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd from (
    select case :by when 'turn' then coalesce(seq::text, '') when 'session' then session_id::text
        when 'day' then (at at time zone 'utc')::date::text when 'user' then user_id when 'key' then owner else model end as name,
        grouping(case :by when 'turn' then coalesce(seq::text, '') when 'session' then session_id::text
        when 'day' then (at at time zone 'utc')::date::text when 'user' then user_id when 'key' then owner else model end) = 1 as is_total,
        coalesce(sum(turns), 0)::bigint as turns, coalesce(sum(input_tokens), 0)::bigint as input_tokens,
        coalesce(sum(output_tokens), 0)::bigint as output_tokens,
        coalesce(sum(cache_read_tokens), 0)::bigint as cache_read_tokens,
        coalesce(sum(cache_write_tokens), 0)::bigint as cache_write_tokens, coalesce(sum(cost_usd), 0) as cost_usd,
        max(seq) as last_seq
    from used
    where at >= :since::date::timestamp at time zone 'utc' and at < (:until::date + 1)::timestamp at time zone 'utc'
      and (:owner::text is null or owner = :owner) and (:session_id::uuid is null or session_id = :session_id)
    group by grouping sets ((case :by when 'turn' then coalesce(seq::text, '') when 'session' then session_id::text
        when 'day' then (at at time zone 'utc')::date::text when 'user' then user_id when 'key' then owner else model end), ())
) as summed
order by is_total desc, case when :by::text = 'turn' then last_seq end desc nulls last,
    case when :by::text = 'day' then null else cost_usd end desc, name
limit :limit::bigint + 1;

-- name: budgets
-- Lists budgets with what was spent of each: all, or those of one key.
select scope, subject, period, limit_usd, updated_at, updated_by, (
    select coalesce(sum(cost_usd), 0) from usage_days
    where case budgets.scope when 'key' then usage_days.owner else usage_days.user_id end = budgets.subject
      and (budgets.period = 'total' or day = (clock_timestamp() at time zone 'utc')::date)
) as spent_usd
from budgets where :owner::text is null or (scope = 'key' and subject = :owner)
order by scope, subject, period;

-- name: covering
-- Reads the budgets that cover the sessions of a key and a user, with what was spent of each.
select scope, subject, period, limit_usd, updated_at, updated_by, (
    select coalesce(sum(cost_usd), 0) from usage_days
    where usage_days.owner = :owner and (budgets.period = 'total' or day = (clock_timestamp() at time zone 'utc')::date)
) as spent_usd
from budgets where scope = 'key' and subject = :owner
union all
select scope, subject, period, limit_usd, updated_at, updated_by, (
    select coalesce(sum(cost_usd), 0) from usage_days
    where usage_days.user_id = :user_id
      and (budgets.period = 'total' or day = (clock_timestamp() at time zone 'utc')::date)
) as spent_usd
from budgets where scope = 'user' and subject = :user_id;

-- name: set_budget
-- Stores a budget, replacing the earlier one.
insert into budgets (scope, subject, period, limit_usd, updated_at, updated_by)
values (:scope, :subject, :period, :limit_usd, clock_timestamp(), :updated_by)
on conflict (scope, subject, period) do update set
    limit_usd = excluded.limit_usd, updated_at = excluded.updated_at, updated_by = excluded.updated_by;

-- name: remove_budget
-- Removes a budget.
delete from budgets where scope = :scope and subject = :subject and period = :period returning scope;

-- name: covered
-- Lists the live sessions of a key or of a user.
select id from sessions
where ended_at is null and case :scope when 'key' then owner else user_id end = :subject
order by id;

-- name: limited
-- Lists the live sessions that have a budget, are covered by one or wait for one.
select id from sessions
where ended_at is null and (
    waiting_for = 'budget' or brief ->> 'budget_usd' is not null or exists (
        select from budgets
        where (scope = 'key' and subject = sessions.owner) or (scope = 'user' and subject = sessions.user_id)
    )
)
order by id;

-- name: totals
-- Sums what was used by model since the first turn, the most expensive models first.
select model, sum(turns)::bigint as turns, sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens, sum(cache_read_tokens)::bigint as cache_read_tokens,
    sum(cache_write_tokens)::bigint as cache_write_tokens, sum(cost_usd) as cost_usd
from usage_days group by model order by cost_usd desc, model limit 50;

-- name: waiting
-- Counts the live sessions that wait for a budget.
select count(*) from sessions where ended_at is null and waiting_for = 'budget';

-- name: unsettled
-- Lists sessions whose calls of the model have yet to be compared with what their turns reported, the longest first: those with
-- new calls, and those with a new report since something was found unreported.
select session_id from usage_metered join sessions on sessions.id = usage_metered.session_id
where due or (unreported and usage_metered.turns <> coalesce((sessions.usage ->> 'turns')::bigint, 0))
order by settled_at limit :limit;

-- name: mark_for_settling
-- Locks the mark of a session, so that `settle`, which is the next statement of the transaction, sees every call and every
-- comparison that was stored before. The session's row is locked first, as by its deletion.
select usage_metered.session_id from sessions join usage_metered on usage_metered.session_id = sessions.id
where sessions.id = :session_id for key share of sessions for update of usage_metered;

-- name: settle
-- Compares what the gateway metered of a session with what its turns reported, adds the difference to the sums by day, and
-- returns whether they changed. Counts calls up to the end of the newest turn and, while no turn runs, all that are older
-- than `quiet_s`. The price of a token is what it cost on average: of that model lately, else of all, else `price_usd`. An
-- output token costs five input tokens, one that is written to the cache 1.25 and one that is read from it 0.1.
with record as (
    select id, owner, coalesce(user_id, '') as user_id, status, coalesce((usage ->> 'turns')::bigint, 0) as turns
    from sessions where id = :session_id
),
ends as (
    select greatest(
        (select at from output where session_id = :session_id and kind in ('turn_ended', 'interrupted')
         order by seq desc limit 1),
        case when status <> 'active' then clock_timestamp() - make_interval(secs => :quiet_s::double precision) end
    ) as at
    from record
),
calls as (
    select split_part(model, '[', 1) as model, gateway_calls.at, gateway_calls.at <= ends.at as counts, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens,
        input_tokens + 5 * output_tokens + 0.1 * cache_read_tokens + 1.25 * cache_write_tokens as weight
    from gateway_calls, ends where session_id = :session_id and route = 'model'
),
metered as (
    select coalesce(sum(input_tokens), 0) as input, coalesce(sum(output_tokens), 0) as output,
        coalesce(sum(cache_read_tokens), 0) as cache_read, coalesce(sum(cache_write_tokens), 0) as cache_write,
        coalesce(max(at), clock_timestamp()) as newest
    from calls where counts
),
reported as (
    select coalesce(sum(input_tokens), 0) as input, coalesce(sum(output_tokens), 0) as output,
        coalesce(sum(cache_read_tokens), 0) as cache_read, coalesce(sum(cache_write_tokens), 0) as cache_write
    from usage_turns where session_id = :session_id
),
known_models as (
    select model, sum(input_tokens + 5 * output_tokens + 0.1 * cache_read_tokens + 1.25 * cache_write_tokens) as weight,
        sum(cost_usd) as cost_usd
    from usage_unreported where session_id = :session_id group by model
),
known as (
    select coalesce(sum(input_tokens), 0) as input, coalesce(sum(output_tokens), 0) as output,
        coalesce(sum(cache_read_tokens), 0) as cache_read, coalesce(sum(cache_write_tokens), 0) as cache_write,
        coalesce(sum(cost_usd), 0) as cost_usd
    from usage_unreported where session_id = :session_id
),
missing as (
    select greatest(metered.input - reported.input, 0) as input, greatest(metered.output - reported.output, 0) as output,
        greatest(metered.cache_read - reported.cache_read, 0) as cache_read,
        greatest(metered.cache_write - reported.cache_write, 0) as cache_write
    from metered, reported
),
changed as (
    select missing.input - known.input as input, missing.output - known.output as output,
        missing.cache_read - known.cache_read as cache_read, missing.cache_write - known.cache_write as cache_write,
        missing.input + missing.output + missing.cache_read + missing.cache_write > 0 as remains, known.cost_usd,
        missing.input - known.input + 5 * (missing.output - known.output)
        + 0.1 * (missing.cache_read - known.cache_read) + 1.25 * (missing.cache_write - known.cache_write) as weight
    from missing, known
),
models as (
    select model, sum(weight) as weight from (
        select model, weight from calls where counts
        union all
        select split_part(model, '[', 1),
            -(input_tokens + 5 * output_tokens + 0.1 * cache_read_tokens + 1.25 * cache_write_tokens)
        from usage_turns where session_id = :session_id
        union all
        select model, -weight from known_models
    ) as parts
    where model in (select model from calls where counts union select model from known_models)
    group by model
),
main as (
    select models.model, known_models.weight, known_models.cost_usd
    from models cross join changed left join known_models using (model)
    where changed.weight >= 0 or known_models.weight > 0
    order by models.weight * case when changed.weight >= 0 then -1 else 1 end, model limit 1
),
paid as (
    select split_part(model, '[', 1) as model, cost_usd,
        input_tokens + 5 * output_tokens + 0.1 * cache_read_tokens + 1.25 * cache_write_tokens as weight
    from usage_days where day > (clock_timestamp() at time zone 'utc')::date - 30 and cost_usd > 0
),
price as (
    select coalesce(
        (select sum(cost_usd) / nullif(sum(weight), 0) from paid where model = (select model from main)),
        (select sum(cost_usd) / nullif(sum(weight), 0) from paid),
        :price_usd::double precision
    ) as usd
),
change as (
    select (metered.newest at time zone 'utc')::date as day, coalesce((select model from main), 'unknown') as model,
        changed.input, changed.output, changed.cache_read, changed.cache_write, remains,
        case
            when not remains then -changed.cost_usd
            when changed.weight >= 0 then price.usd * changed.weight
            when -changed.weight <= (select weight from main)
                then changed.weight * (select greatest(cost_usd, 0) / weight from main)
            else changed.weight * changed.cost_usd / (missing_weight - changed.weight)
        end as cost_usd
    from changed, metered, price,
        (select input + 5 * output + 0.1 * cache_read + 1.25 * cache_write as missing_weight from missing) as left_over
),
added as (
    insert into usage_unreported (
        session_id, day, model, owner, user_id, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd
    )
    select record.id, day, model, owner, user_id, input, output, cache_read, cache_write, cost_usd
    from change, record where (input, output, cache_read, cache_write) <> (0, 0, 0, 0)
    on conflict (session_id, day, model) do update set
        input_tokens = usage_unreported.input_tokens + excluded.input_tokens,
        output_tokens = usage_unreported.output_tokens + excluded.output_tokens,
        cache_read_tokens = usage_unreported.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = usage_unreported.cache_write_tokens + excluded.cache_write_tokens,
        cost_usd = usage_unreported.cost_usd + excluded.cost_usd
    returning session_id
),
summed as (
    insert into usage_days (
        day, owner, user_id, model, turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd
    )
    select day, owner, user_id, model, 0, input, output, cache_read, cache_write, cost_usd
    from change, record where (input, output, cache_read, cache_write) <> (0, 0, 0, 0)
    on conflict (day, owner, user_id, model) do update set
        input_tokens = usage_days.input_tokens + excluded.input_tokens,
        output_tokens = usage_days.output_tokens + excluded.output_tokens,
        cache_read_tokens = usage_days.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = usage_days.cache_write_tokens + excluded.cache_write_tokens,
        cost_usd = usage_days.cost_usd + excluded.cost_usd
),
noted as (
    update usage_metered set due = exists (select from calls where counts is not true), unreported = change.remains,
        turns = record.turns, settled_at = clock_timestamp()
    from change, record where usage_metered.session_id = record.id
)
select exists (select from added) as changed;

-- name: unreported
-- Sums what a session used and no turn reported.
select 0 as turns, coalesce(sum(input_tokens), 0)::bigint as input_tokens,
    coalesce(sum(output_tokens), 0)::bigint as output_tokens, coalesce(sum(cache_read_tokens), 0)::bigint as cache_read_tokens,
    coalesce(sum(cache_write_tokens), 0)::bigint as cache_write_tokens, coalesce(sum(cost_usd), 0) as cost_usd
from usage_unreported where session_id = :session_id;
