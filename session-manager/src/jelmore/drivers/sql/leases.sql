-- name: take
-- Takes or renews leases that are free, expired or already ours; the database's clock decides, so hosts need not agree.
insert into leases (name, holder, expires_at)
select name, $2, clock_timestamp() + make_interval(secs => $3) from unnest($1::text[]) as name
order by name
on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
where leases.holder = excluded.holder or leases.expires_at < clock_timestamp()
returning name;

-- name: give
-- Gives our own leases back.
delete from leases where name = any($1::text[]) and holder = $2;

-- name: elsewhere
-- Says whether somebody else holds a lease now.
select exists (select from leases where name = $1 and holder <> $2 and expires_at >= clock_timestamp());

-- name: unfollowed
-- Lists awake sessions with a container whose runner nobody follows.
select id from sessions
where ended_at is null and presence = 'awake' and container_id is not null
  and not exists (
      select from leases where name = 'relay/' || sessions.id::text and expires_at >= clock_timestamp()
  )
order by id;

-- name: tidy
-- Removes leases that expired long ago.
delete from leases where expires_at < clock_timestamp() - interval '1 hour';
