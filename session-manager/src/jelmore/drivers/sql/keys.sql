-- name: keep_signing_key
-- Stores the installation's signing key unless it has one.
insert into signing_keys (private_key) values ($1) on conflict do nothing;

-- name: signing_key
-- Reads the installation's signing key.
select private_key from signing_keys;

-- name: key_by_digest
-- Finds a key by its digest, unless it is revoked.
select id, name, role, created_at from api_keys where digest = $1 and revoked_at is null;

-- name: key_by_id
-- Finds a key by its id, unless it is revoked.
select id, name, role, created_at from api_keys where id = $1 and revoked_at is null;

-- name: add_key
-- Stores a key's digest. A known digest stays unchanged.
insert into api_keys (id, name, role, digest, created_at) values ($1, $2, $3, $4, $5) on conflict do nothing;

-- name: keys
-- Lists the keys that are not revoked, oldest first.
select id, name, role, created_at from api_keys where revoked_at is null order by created_at, id;

-- name: revoke_key
-- Revokes a key.
update api_keys set revoked_at = now() where id = $1 and revoked_at is null returning id;

-- name: revoked_keys
-- Lists the keys revoked, and the participants removed, at or after a given time, and those that ran out since.
select id from api_keys where revoked_at >= $1 or expires_at between $1 and clock_timestamp()
union
select id from participants where revoked_at >= $1 or expires_at between $1 and clock_timestamp()
order by id;
