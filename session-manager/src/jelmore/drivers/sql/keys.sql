-- name: keep_signing_key
-- Stores the installation's signing key unless it has one.
insert into signing_keys (private_key) values (:private_key) on conflict do nothing;

-- name: signing_key
-- Reads the installation's signing key.
select private_key from signing_keys;

-- name: key_by_digest
-- Finds a key by its digest, or by its former one while that is accepted, unless it is revoked or expired. Notes to the
-- minute that it was used.
with found as (
    select k.id, k.name, k.role, k.created_at, k.expires_at, k.last_used_at, k.created_by, k.user_id,
        k.signed_in_until, k.act_as, k.sign_in_epoch
    from api_keys as given join api_keys as k on k.id = coalesce(given.replaced_by, given.id)
    where given.digest = :digest and given.revoked_at is null and k.revoked_at is null
      and (given.expires_at is null or given.expires_at > clock_timestamp())
      and (k.expires_at is null or k.expires_at > clock_timestamp())
),
used as (
    update api_keys as k set last_used_at = clock_timestamp() from found
    where k.id = found.id
      and (found.last_used_at is null or found.last_used_at < clock_timestamp() - interval '1 minute')
)
select * from found;

-- name: keys_by_id
-- Finds keys by their ids, but none that is revoked or expired, or an account whose last sign-in is over.
select id, name, role, created_at, expires_at, last_used_at, created_by, user_id, signed_in_until, act_as,
    sign_in_epoch from api_keys
where id = any(:ids::text[]) and revoked_at is null and replaced_by is null
  and (expires_at is null or expires_at > clock_timestamp())
  and (signed_in_until is null or signed_in_until > clock_timestamp());

-- name: add_key
-- Stores a key's digest. A known digest stays unchanged.
insert into api_keys (id, name, role, digest, created_at) values (:id, :name, :role, :digest, :created_at)
on conflict do nothing;

-- name: keys
-- Lists the keys that are not revoked, oldest first.
select id, name, role, created_at, expires_at, last_used_at, created_by, user_id, signed_in_until, act_as,
    sign_in_epoch from api_keys
where revoked_at is null and replaced_by is null
order by created_at, id;

-- name: revoke_key
-- Revokes a key.
update api_keys set revoked_at = now() where id = :id and revoked_at is null returning id;

-- name: revoked_keys
-- Lists the subjects of the keys revoked, and the participants removed, at or after a given time, and those that ran out
-- since; also who was invited with a key that was revoked, or by an account that does not see the session any more, and
-- the earlier epochs of accounts whose rights have changed.
select case when epoch = 0 then k.id else k.id || '#' || epoch end as id
from api_keys as k cross join lateral generate_series(greatest(0, k.sign_in_epoch - 1000), k.sign_in_epoch) as epoch
where k.revoked_at >= :since or k.expires_at between :since and clock_timestamp()
   or (k.rights_changed_at >= :since and epoch < k.sign_in_epoch)
union
select id from participants where revoked_at >= :since or expires_at between :since and clock_timestamp()
union
select id from participants where invite_id in (
    select i.id from invites as i join api_keys as k on k.id = i.created_by join sessions as s on s.id = i.session_id
    where k.revoked_at >= :since
       or (k.rights_changed_at >= :since and k.role <> 'admin' and (k.role <> 'client' or s.owner <> k.id))
)
order by id;
