-- name: make_key
-- Stores a new key's digest, with when it ends.
insert into api_keys (id, name, role, digest, created_at, expires_at, created_by, user_id, act_as)
values (
    :id, :name, :role, :digest, clock_timestamp(),
    clock_timestamp() + make_interval(secs => :ttl_s::double precision), :created_by, :user_id, :act_as
)
returning id, name, role, created_at, expires_at, last_used_at, created_by, user_id, signed_in_until, act_as,
    sign_in_epoch;

-- name: set_act_as
-- Grants a client key that it acts for every user, or takes that away; returns the key. Not one of one user.
update api_keys set act_as = :act_as
where id = :id and role = 'client' and revoked_at is null and replaced_by is null and user_id is null
returning id, name, role, created_at, expires_at, last_used_at, created_by, user_id, signed_in_until, act_as,
    sign_in_epoch;

-- name: digest_of
-- Reads and locks the digest of a key that can be rotated; an account has none.
select digest from api_keys
where id = :id and revoked_at is null and replaced_by is null and signed_in_until is null for update;

-- name: new_digest
-- Gives a key another digest, and returns the key.
update api_keys set digest = :digest where id = :id
returning id, name, role, created_at, expires_at, last_used_at, created_by, user_id, signed_in_until, act_as,
    sign_in_epoch;

-- name: shorten_former
-- Lets no text that a key had before the former one be accepted for longer than so many seconds.
update api_keys set expires_at = least(expires_at, clock_timestamp() + make_interval(secs => :former_for_s))
where replaced_by = :id and revoked_at is null;

-- name: keep_former
-- Keeps the former digest of a rotated key for so many seconds.
insert into api_keys (id, name, role, digest, created_at, expires_at, replaced_by)
select id || '~' || left(:former, 12), name, role, :former, created_at,
    clock_timestamp() + make_interval(secs => :former_for_s), id
from api_keys where id = :id;

-- name: live_settings
-- Reads what operators have changed while managers run, and how long ago: clocks of managers may differ.
select name, value, changed_at, changed_by,
    extract(epoch from clock_timestamp() - changed_at)::float8 as age_s
from live_settings;

-- name: set_live
-- Stores a changed value.
insert into live_settings (name, value, changed_by) values (:name, :value::jsonb, :changed_by)
on conflict (name) do update set value = excluded.value, changed_at = clock_timestamp(), changed_by = excluded.changed_by;

-- name: unset_live
-- Goes back to the configured value.
delete from live_settings where name = :name;

-- name: add_audit
-- Stores entries of the audit log.
insert into audit_log (at, actor, actor_name, action, target, outcome, remote, request_id)
select * from unnest(
    :ats::timestamptz[], :actors::text[], :actor_names::text[], :actions::text[],
    :targets::text[], :outcomes::text[], :remotes::text[], :request_ids::text[]
);

-- name: audit
-- Reads entries after an id, oldest first. A null filter means every one.
select id, at, actor, actor_name, action, target, outcome, remote, request_id from audit_log
where id > :after and (:actor::text is null or actor = :actor) and (:action::text is null or action = :action)
    and (:since::timestamptz is null or at >= :since)
order by id
limit :limit;

-- name: trim_audit
-- Removes entries that are older than so many seconds, a bounded number at once.
delete from audit_log where id in (
    select id from audit_log where at < clock_timestamp() - make_interval(secs => :max_age_s) order by at limit 5000
);
