-- People who sign in at an identity provider have a row in api_keys without a key's digest: an account. It is valid until
-- some time after its last sign-in. Managers of an earlier version see a key that nobody can send.
alter table api_keys
    add column user_id text,
    add column signed_in_until timestamptz;

create table used_sign_ins (
    digest text primary key,
    expires_at timestamptz not null
);
