-- name: members
-- Lists the members of the warm pool, the oldest first.
select * from pool order by created_at, id;

-- name: add
-- Adds a member, unless its profile has as many as wanted. Members that are being removed do not count.
insert into pool (id, state, recipe, memory_bytes, cpus, pids, profile)
select :id, 'starting', :recipe, :memory_bytes, :cpus, :pids, :profile
where (select count(*) from pool where state <> 'removing' and profile = :profile) < :most
returning *;

-- name: lock_pool
-- Makes transactions that add members wait for each other until they end.
select pg_advisory_xact_lock(hashtextextended('jelmore pool', 0));

-- name: offer
-- Lets a starting member be claimed.
update pool set state = 'ready' where id = :id and state = 'starting' returning id;

-- name: confirm
-- Notes that the ready members are well: they can be claimed for another minute.
insert into leases (name, holder, expires_at) values ('pool/well', 'pool', now() + interval '60 seconds')
on conflict (name) do update set expires_at = excluded.expires_at;

-- name: retire
-- Ends a member that no session has claimed: from now on none can.
update pool set state = 'removing' where id = :id and state <> 'removing' returning id;

-- name: exists
-- Returns whether a member has a row, in any state.
select exists (select from pool where id = :id);

-- name: forget
-- Deletes the row of a member that was removed.
delete from pool where id = :id and state = 'removing';

-- name: claims
-- Returns how many creates each stage has served.
select stage, claims from pool_claims order by stage;

-- name: demand
-- Returns how many sessions hold a slot, and how many of them wait for their sandbox.
select count(*) as slots_used,
       count(*) filter (where container_id is null and wanted = 'running') as starting
from sessions where ended_at is null and presence <> 'hibernated';
