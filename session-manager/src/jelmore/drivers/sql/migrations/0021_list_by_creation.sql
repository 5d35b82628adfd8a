-- Lists in the order of creation compare the time of creation before the id: the id of a session that has claimed a
-- member of the warm pool is older than the session.

drop index sessions_by_creation;
create index sessions_by_creation on sessions (created_at, id);
drop index sessions_by_owner;
create index sessions_by_owner on sessions (owner, created_at desc, id desc);
drop index sessions_by_user;
create index sessions_by_user on sessions (user_id, created_at desc, id desc) where user_id is not null;
