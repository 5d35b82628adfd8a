-- name: make_key
-- Stores a new key's digest, with when it ends.
insert into api_keys (id, name, role, digest, created_at, expires_at, created_by)
values ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + make_interval(secs => $5::double precision), $6)
returning id, name, role, created_at, expires_at, last_used_at, created_by;

-- name: digest_of
-- Reads and locks the digest of a key that can be rotated.
select digest from api_keys where id = $1 and revoked_at is null and replaced_by is null for update;

-- name: new_digest
-- Gives a key another digest, and returns the key.
update api_keys set digest = $2 where id = $1
returning id, name, role, created_at, expires_at, last_used_at, created_by;

-- name: keep_former
-- Keeps the former digest of a rotated key for so many seconds.
insert into api_keys (id, name, role, digest, created_at, expires_at, replaced_by)
select id || '~' || left($2, 12), name, role, $2, created_at, clock_timestamp() + make_interval(secs => $3), id
from api_keys where id = $1;

-- name: live_settings
-- Reads what operators have changed while managers run.
select name, value, changed_at, changed_by from live_settings;

-- name: set_live
-- Stores a changed value.
insert into live_settings (name, value, changed_by) values ($1, $2::jsonb, $3)
on conflict (name) do update set value = excluded.value, changed_at = clock_timestamp(), changed_by = excluded.changed_by;

-- name: unset_live
-- Goes back to the configured value.
delete from live_settings where name = $1;

-- name: add_audit
-- Stores entries of the audit log.
insert into audit_log (at, actor, actor_name, action, target, outcome, remote, request_id)
select * from unnest(
    $1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[]
);

-- name: audit
-- Reads entries after an id, oldest first. A null filter means every one.
select id, at, actor, actor_name, action, target, outcome, remote, request_id from audit_log
where id > $1 and ($2::text is null or actor = $2) and ($3::text is null or action = $3)
    and ($4::timestamptz is null or at >= $4)
order by id
limit $5;

-- name: trim_audit
-- Removes entries that are older than so many seconds, a bounded number at once.
delete from audit_log where id in (
    select id from audit_log where at < clock_timestamp() - make_interval(secs => $1) order by at limit 5000
);
