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
-- by erased sessions is missing in it.
select name, is_total, turns, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_usd from (
    select case :by when 'turn' then seq::text when 'session' then session_id::text
        when 'day' then (at at time zone 'utc')::date::text when 'user' then user_id when 'key' then owner else model end as name,
        grouping(case :by when 'turn' then seq::text when 'session' then session_id::text
        when 'day' then (at at time zone 'utc')::date::text when 'user' then user_id when 'key' then owner else model end) = 1 as is_total,
        coalesce(sum(turns), 0)::bigint as turns, coalesce(sum(input_tokens), 0)::bigint as input_tokens,
        coalesce(sum(output_tokens), 0)::bigint as output_tokens,
        coalesce(sum(cache_read_tokens), 0)::bigint as cache_read_tokens,
        coalesce(sum(cache_write_tokens), 0)::bigint as cache_write_tokens, coalesce(sum(cost_usd), 0) as cost_usd,
        max(seq) as last_seq
    from usage_turns
    where at >= :since::date::timestamp at time zone 'utc' and at < (:until::date + 1)::timestamp at time zone 'utc'
      and (:owner::text is null or owner = :owner) and (:session_id::uuid is null or session_id = :session_id)
    group by grouping sets ((case :by when 'turn' then seq::text when 'session' then session_id::text
        when 'day' then (at at time zone 'utc')::date::text when 'user' then user_id when 'key' then owner else model end), ())
) as summed
order by is_total desc, case when :by::text = 'turn' then last_seq end desc,
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
