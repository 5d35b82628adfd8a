-- name: participants
-- Lists the participants of a session that were not removed, oldest first.
select * from participants where session_id = :session_id and revoked_at is null order by created_at, id;

-- name: join
-- Adds a participant, or changes the name of one. A removed one comes back only by an invite.
insert into participants (session_id, id, name, role, read_output_seq, read_event_seq)
select s.id, :id, :name, :role, 0, 0 from sessions as s where s.id = :session_id
on conflict (session_id, id) do update set name = excluded.name, seen_at = clock_timestamp()
where participants.revoked_at is null
returning *, xmax = 0 as added;

-- name: by_digest
-- Finds the participant that holds a credential, unless it was removed, has run out, or its inviter's key was revoked,
-- does not see the session any more, or is an account that has not signed in for a week.
-- Writes when it was last seen, but not with every request.
with found as (
    select p.* from participants as p join invites as i on i.id = p.invite_id join api_keys as k on k.id = i.created_by
        join sessions as s on s.id = i.session_id
    where p.digest = :digest and p.revoked_at is null and k.revoked_at is null
      and (k.role = 'admin' or (k.role = 'client' and s.owner = k.id))
      and (k.signed_in_until is null or k.signed_in_until > clock_timestamp() - interval '7 days')
      and (p.expires_at is null or p.expires_at > clock_timestamp())
),
seen as (
    update participants as p set seen_at = clock_timestamp() from found
    where p.session_id = found.session_id and p.id = found.id
      and found.seen_at < clock_timestamp() - interval '30 seconds'
)
select * from found;

-- name: remove_participant
-- Removes a participant; its credential opens nothing from now on.
update participants set revoked_at = clock_timestamp(), digest = null
where session_id = :session_id and id = :id and revoked_at is null returning *;

-- name: mark_read
-- Moves the read marks of a participant forward, never back, and not beyond what there is. Also
-- returns whether they passed output or a comment.
with before as (
    select read_output_seq, read_event_seq from participants where session_id = :session_id and id = :id for update
)
update participants as p set
    read_output_seq = greatest(p.read_output_seq, least(:output_seq, s.output_seq)),
    read_event_seq = greatest(p.read_event_seq, least(:event_seq, s.event_seq)),
    seen_at = clock_timestamp()
from sessions as s, before
where s.id = p.session_id and p.session_id = :session_id and p.id = :id and p.revoked_at is null
returning p.*, p.read_output_seq > before.read_output_seq or exists (
    select from events as e
    where e.session_id = :session_id and e.seq > before.read_event_seq and e.seq <= p.read_event_seq
      and e.type = :comment_type
) as moved;

-- name: add_event
-- Records an event of a session that changes nothing else of it.
with numbered as (
    update sessions set event_seq = event_seq + 1 where id = :session_id returning id, event_seq, version
),
new_events as (
    insert into events (session_id, seq, type, at, payload, output_seq, version)
    select id, event_seq, :type, clock_timestamp(), :payload::jsonb, null, version from numbered
    returning session_id, seq
),
queued as (
    insert into outbox (session_id, seq) select session_id, seq from new_events
)
select seq from new_events;

-- name: add_invite
-- Stores an invite by its digest.
insert into invites (id, session_id, digest, role, created_by, expires_at, access_expires_at, uses_left)
select :id, s.id, :digest, :role, :created_by, clock_timestamp() + make_interval(secs => :ttl_s),
    clock_timestamp() + make_interval(secs => :access_ttl_s::double precision), :uses_left
from sessions as s where s.id = :session_id
returning *;

-- name: invites
-- Lists the invites of a session that can still be used, oldest first.
select * from invites
where session_id = :session_id and revoked_at is null and expires_at > clock_timestamp() and uses_left > 0
order by id;

-- name: revoke_invite
-- Revokes an invite and returns it. Who has accepted it stays.
update invites set revoked_at = clock_timestamp()
where id = :id and session_id = :session_id and revoked_at is null returning *;

-- name: revoke_invited
-- Removes everybody who has accepted an invite, and returns their ids.
update participants set revoked_at = clock_timestamp(), digest = null
where session_id = :session_id and invite_id = :invite_id and revoked_at is null returning id;

-- name: use_invite
-- Uses an invite up by one, unless it was revoked, has run out or its maker's key was revoked, does not see the session any
-- more, or is an account that has not signed in for a week.
update invites as i set uses_left = uses_left - 1
from api_keys as k, sessions as s
where i.digest = :digest and k.id = i.created_by and s.id = i.session_id and k.revoked_at is null and i.revoked_at is null
  and (k.role = 'admin' or (k.role = 'client' and s.owner = k.id))
  and (k.signed_in_until is null or k.signed_in_until > clock_timestamp() - interval '7 days')
  and i.expires_at > clock_timestamp() and i.uses_left > 0
returning i.*;

-- name: add_invited
-- Adds the participant that accepts an invite.
insert into participants (session_id, id, name, role, digest, invite_id, expires_at)
values (:session_id, :id, :name, :role, :digest, :invite_id, :expires_at)
returning *, true as added;

-- name: inbox
-- Lists sessions with what a participant has not read of them: live ones, and those that ended within a week. Those that
-- wait for a person come first, then those with something unread, then the newest activity.
with candidates as (
    select s.id, s.owner, s.user_id, s.status, s.waiting_for, s.title, s.query_start, s.created_at, s.last_activity_at,
        s.ended_at, s.output_seq, s.event_seq, coalesce(p.read_output_seq, 0) as read_output_seq,
        coalesce(p.read_event_seq, 0) as read_event_seq,
        coalesce(s.ended_at is null and s.waiting_for <> 'prompt', false) as waiting_for_me
    from sessions as s left join participants as p
        on p.session_id = s.id and p.id = :participant_id and p.revoked_at is null
    where not s.archived and (s.ended_at is null or s.ended_at > clock_timestamp() - interval '7 days')
      and (:owner::text is null or s.owner = :owner)
      and (:user_id::text is null or s.user_id = :user_id or p.id is not null)
    order by waiting_for_me desc, s.last_activity_at desc, s.id desc
    limit :limit
),
counted as (
    select c.*,
        (select count(*) from (
            select from output as o
            where o.session_id = c.id and o.seq > c.read_output_seq and o.kind = any(:unread_kinds::text[]) limit 100
        ) as unread) as unread_messages,
        (select count(*) from (
            select from events as e
            where e.session_id = c.id and e.seq > c.read_event_seq and e.type = :comment_type
              and e.payload ->> 'author' <> :participant_id
            limit 100
        ) as unread) as unread_comments
    from candidates as c
)
select * from counted
order by waiting_for_me desc, unread_messages + unread_comments > 0 desc, last_activity_at desc, id desc;
