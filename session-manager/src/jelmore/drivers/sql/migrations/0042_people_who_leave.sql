-- Every manager asks each second whose access has ended, which read all people of all sessions.

create index participants_expiring on participants (expires_at) where expires_at is not null;
create index participants_by_invite on participants (invite_id) where invite_id is not null;
