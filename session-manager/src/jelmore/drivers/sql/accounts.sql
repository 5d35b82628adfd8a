-- name: sign_in
-- Stores or changes the account of a person who has signed in, unless an operator revoked it. Its digest is that of no key.
-- Another role is another epoch: what was made with the former one ends.
insert into api_keys (id, name, role, digest, created_at, user_id, signed_in_until, last_used_at)
values (
    :id, :name, :role, 'account ' || :id::text, clock_timestamp(), :user_id,
    clock_timestamp() + make_interval(secs => :for_s), clock_timestamp()
)
on conflict (id) do update set
    name = excluded.name, role = excluded.role, user_id = excluded.user_id,
    signed_in_until = excluded.signed_in_until, last_used_at = excluded.last_used_at, expires_at = null,
    sign_in_epoch = api_keys.sign_in_epoch + (excluded.role <> api_keys.role)::integer,
    rights_changed_at = case when excluded.role <> api_keys.role then clock_timestamp() else api_keys.rights_changed_at end
where api_keys.revoked_at is null and api_keys.signed_in_until is not null
returning id, name, role, created_at, expires_at, last_used_at, created_by, user_id, signed_in_until, act_as,
    sign_in_epoch;

-- name: end_sign_in
-- Ends the sign-ins of an account. Like a key that has run out, it is among those that end streams, and that runners get: a
-- token that was made with it would else last as long as the sign-in would have.
update api_keys set signed_in_until = clock_timestamp(), expires_at = clock_timestamp(),
    sign_in_epoch = sign_in_epoch + 1, rights_changed_at = clock_timestamp()
where id = :id and signed_in_until > clock_timestamp();

-- name: use_once
-- Stores the digest of a sign-in that is done, unless it is stored already, and removes those that have run out.
with outdated as (
    delete from used_sign_ins where expires_at < clock_timestamp() and digest <> :digest
)
insert into used_sign_ins (digest, expires_at)
values (:digest, clock_timestamp() + make_interval(secs => :for_s))
on conflict do nothing
returning digest;
