-- A key may name any user of its caller for a session. Only with `act_as`, or as a key of that user, do the user's
-- credentials and routes go with the session's calls. Keys that have used what belongs to a user keep that: who upgrades
-- finds them in the list of keys.
alter table api_keys
    add column act_as boolean not null default false,
    add column sign_in_epoch integer not null default 0,
    add column rights_changed_at timestamptz;

update api_keys as k set act_as = true
where k.role = 'client' and k.user_id is null and k.revoked_at is null and exists (
    select 1 from sessions as s
    where s.owner = k.id and s.user_id is not null and (
        exists (select 1 from credentials as c where c.scope = 'user' and c.owner = s.user_id)
        or exists (
            select 1 from gateway_routes as r
            where jsonb_typeof(r.body -> 'users') = 'array' and r.body -> 'users' ? s.user_id
        )
    )
);

-- Also sessions that have ended: they can be resumed.
update sessions as s set spec = s.spec || '{"acts_for_user": true}'
from api_keys as k
where k.id = s.owner and s.user_id is not null
  and (k.role = 'admin' or k.act_as or k.user_id = s.user_id);

-- A person lets the gateway use a server in their name: what finishes it, encrypted by the gateway, until they come back.
create table authorizations (
    state text primary key,
    started_by text not null,
    scope text not null,
    owner text not null,
    name text not null,
    route text not null,
    sealed text not null,
    expires_at timestamptz not null
);
