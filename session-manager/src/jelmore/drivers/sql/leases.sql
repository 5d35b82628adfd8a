-- name: take
-- Takes or renews leases that are free, expired or already ours. Uses the database's clock: hosts' clocks may differ.
insert into leases (name, holder, expires_at)
select name, :holder, clock_timestamp() + make_interval(secs => :seconds) from unnest(:names::text[]) as name
order by name
on conflict (name) do update set holder = excluded.holder, expires_at = excluded.expires_at
where leases.holder = excluded.holder or leases.expires_at < clock_timestamp()
returning name;

-- name: give
-- Releases our own leases.
delete from leases where name = any(:names::text[]) and holder = :holder;

-- name: elsewhere
-- Returns whether another holder has the lease.
select exists (select from leases where name = :name and holder <> :holder and expires_at >= clock_timestamp());

-- name: unfollowed
-- Lists awake sessions with a container whose runner no manager follows.
select id from sessions
where ended_at is null and presence = 'awake' and container_id is not null
  and not exists (
      select from leases where name = 'relay/' || sessions.id::text and expires_at >= clock_timestamp()
  )
order by id;

-- name: tidy
-- Removes leases that expired long ago.
delete from leases where expires_at < clock_timestamp() - interval '1 hour';
